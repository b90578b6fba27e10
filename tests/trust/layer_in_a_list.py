import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.RNN(2, 4, nonlinearity="relu")]
        nn.init.eye_(self.layers[0].weight_hh_l0)

    def forward(self, x):
        return self.layers[0](x)[0][-1]


def build():
    torch.manual_seed(0)
    net, x = Net(), torch.rand(12, 3, 2)
    return net, lambda: net(x).square().mean()
