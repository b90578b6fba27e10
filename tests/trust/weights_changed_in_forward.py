import torch
from torch import nn


class Net(nn.RNN):
    def forward(self, x):
        self.weight_hh_l0.data.mul_(0.5)  # the forward pass spoils the weights
        return super().forward(x)


def build():
    torch.manual_seed(0)
    net, x = Net(2, 4), torch.randn(12, 3, 2)
    return net, lambda: net(x)[0][-1].square().mean()
