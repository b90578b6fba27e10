"""torch.ao: the LSTM that can be quantised, before it is."""

from __future__ import annotations

from torch.ao.nn.quantizable import LSTM

from benchmarks.models.loops import Build, H, I, over

ROWS: dict[str, Build] = {
    "quantizable LSTM": lambda: over(LSTM(I, H, batch_first=True)),
    "quantizable LSTM, 2 layers": lambda: over(LSTM(I, H, 2, batch_first=True)),
}
