"""ncps: closed-form continuous-time networks and liquid time constants."""

from __future__ import annotations

from ncps.torch import LTC, CfC
from ncps.wirings import AutoNCP

from benchmarks.models.loops import Build, H, I, over

ROWS: dict[str, Build] = {
    "CfC": lambda: over(CfC(I, H)),
    "CfC, wired": lambda: over(CfC(I, AutoNCP(2 * H, 4, seed=1))),
    "CfC, mixed memory": lambda: over(CfC(I, H, mixed_memory=True)),
    "LTC": lambda: over(LTC(I, H)),
}
