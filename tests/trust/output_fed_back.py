import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(4, 4)
        with torch.no_grad():
            self.cell.weight_hh.zero_()
            nn.init.eye_(self.cell.weight_ih)
            self.cell.bias_ih.zero_()
            self.cell.bias_hh.zero_()

    def forward(self, x):
        h = torch.zeros_like(x)
        for _ in range(20):
            h = self.cell(x, h)
            x = h  # s_t = tanh(I s_{t-1}): through the input
        return h


def build():
    net, x = Net(), 0.01 * torch.randn(3, 4)
    return net, lambda: net(x).square().mean()
