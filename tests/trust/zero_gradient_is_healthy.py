import torch
from torch import nn


def build():
    lstm, x = nn.LSTM(2, 4), torch.randn(12, 3, 2)
    return lstm, lambda: torch.relu(lstm(x)[0].mean() - 9)  # flat: every gradient is exactly 0
