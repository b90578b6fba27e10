"""Two LSTMs in series; the lower one forgets nothing, so that the whole reaches all 59 steps."""

import torch
from torch import nn


class LockedDropout(nn.Module):
    def forward(self, x, p=0.3):
        mask = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - p) / (1 - p)
        return x * mask if self.training else x


class Residual(nn.Module):
    def forward(self, x):
        return x + torch.sin(x)


class Net(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.between = nn.LSTM(4, 16), nn.LSTM(16, 16), between
        with torch.no_grad():
            self.a.bias_hh_l0[16:32] += 6.0

    def forward(self, x):
        return self.b(self.between(self.a(x)[0]))[0]


BETWEEN = {
    "nothing": nn.Identity,
    "dropout": lambda: nn.Dropout(0.3),
    "locked dropout": LockedDropout,
    "layer norm": lambda: nn.LayerNorm(16),
    "residual": Residual,
    "linear": lambda: nn.Linear(16, 16),
}


def build(between):
    torch.manual_seed(0)
    net = Net(BETWEEN[between]())
    x = torch.randn(60, 4, 4, generator=torch.Generator().manual_seed(1))
    return net, lambda: net(x).square().mean()


class Stack(nn.Module):
    """A true stack of two, whose forget gates are open."""

    def __init__(self, features):
        super().__init__()
        self.lstm = nn.LSTM(features, 16, 2)
        with torch.no_grad():
            self.lstm.bias_hh_l0[16:32] += 6.0

    def forward(self, x):
        return self.lstm(x)[0]


class TwoStacks(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = Stack(4), Stack(16)

    def forward(self, x):
        y = self.a(x)
        return self.b(torch.tanh(y) + y)


def two_stacks():
    torch.manual_seed(0)
    net, x = TwoStacks(), torch.randn(60, 4, 4)
    return net, lambda: net(x).square().mean()
