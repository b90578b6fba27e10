import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.cell = nn.Linear(2, 4), nn.GRUCell(2, 4)

    def forward(self, x):
        start = self.into(x[0])
        return torch.stack([self.cell(s, start) for s in x])  # the new state is never handed on


def build():
    net, x = Net(), torch.randn(12, 3, 2)
    return net, lambda: net(x).square().mean()
