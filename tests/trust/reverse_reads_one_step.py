import torch
from torch import nn


def build():
    torch.manual_seed(0)
    bi, x = nn.RNN(2, 4, bidirectional=True), torch.randn(12, 3, 2)
    with torch.no_grad():
        for n in ("weight_hh_l0", "weight_hh_l0_reverse"):
            nn.init.eye_(getattr(bi, n))
    return bi, lambda: bi(x)[0][-1].square().mean()
