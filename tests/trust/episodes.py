import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(2, 8)
        with torch.no_grad():
            self.cell.bias_hh[8:16] = 5.0  # forgets nothing

    def forward(self, x):
        h, out = x.new_zeros(1, 8), []
        for t, s in enumerate(x):
            if t % 10 == 0:
                h = torch.zeros_like(h)  # a new episode of 10 steps
            h = self.cell(s, h)
            out.append(h)
        return torch.stack(out)


def build():
    torch.manual_seed(0)
    net, x = Net(), torch.randn(40, 1, 2)
    return net, lambda: net(x).square().mean()


def masked():
    """Two sequences, whose episodes begin at different steps, reset by a mask as in RL."""

    class Masked(Net):
        def forward(self, x):
            h, out = x.new_zeros(2, 8), []
            for t, s in enumerate(x):
                keep = torch.tensor([[t % 10 != 0], [t % 10 != 5]]).float()
                h = self.cell(s, h * keep)
                out.append(h)
            return torch.stack(out)

    torch.manual_seed(0)
    net, x = Masked(), torch.randn(40, 2, 2)
    return net, lambda: net(x).square().mean()
