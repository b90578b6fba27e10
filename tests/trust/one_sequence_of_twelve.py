import torch
from torch import nn


def build():
    torch.manual_seed(0)
    gru, x = nn.GRU(2, 8, batch_first=True), torch.randn(12, 12, 2)
    with torch.no_grad():
        gru.bias_hh_l0[8:16] = 5.0
    return gru, lambda: gru(x)[0][-1].square().mean()  # (batch, time): this is the last SAMPLE
