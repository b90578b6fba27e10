"""Where the sequences of a packed batch begin, as the kernels are told."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments


def starts_of(of: Arguments, shape: tuple[int, ...]) -> Tensor | None:
    """Boolean (T B): a sequence begins here; None where there is one sequence a row.

    ``cu_seqlens``: the cumulative lengths of sequences behind one another in a batch of 1.
    ``seq_idx``: (B T), the number of the sequence that each step belongs to.
    """
    batch, steps = shape
    bounds, numbers = of.get("cu_seqlens"), of.get("seq_idx")
    if numbers is not None:
        numbers = numbers.movedim(1, 0)
        first = torch.zeros_like(numbers[:1], dtype=torch.bool)
        return torch.cat([first, numbers[1:] != numbers[:-1]])
    if bounds is None:
        return None
    starts = torch.zeros(steps, batch, dtype=torch.bool, device=bounds.device)
    starts[bounds[1:-1].long()] = True
    return starts
