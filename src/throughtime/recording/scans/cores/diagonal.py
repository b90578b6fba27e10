"""Diagonal recurrences from their own parallel scans: ``s_t = a_t ⊙ s_{t−1} + b_t``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime.recording.scans.cores.griffin import diagonal
from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class LogScan(Scan):
    """minGRU and minLSTM (Feng et al. 2024), by logarithms: ``a = exp log_coeffs``, (B T H)."""

    names = ("heinsen_associative_scan_log",)
    parameters = ("log_coeffs", "log_values")
    probes = ("log_coeffs", "log_values")
    at_most = None

    def steps(self, of: Arguments) -> Steps:
        return diagonal(torch.exp(of.timed("log_coeffs")), torch.exp(of.timed("log_values")))

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)


class HGRN(Scan):
    """HGRN (Qin et al. 2023): ``s_t = exp(g_t) ⊙ s_{t−1} + x_t``, (B T H)."""

    names = ("chunk_hgrn", "fused_recurrent_hgrn", "naive_recurrent_hgrn")
    parameters = ("x", "g")
    probes = ("g",)
    state = "initial_state"

    def steps(self, of: Arguments) -> Steps:
        return diagonal(torch.exp(of.timed("g")), of.timed("x"))

    def as_state(self, final: Tensor) -> Tensor:
        return final.double()[..., None, None]

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)


class AcceleratedScan(Scan):
    """``accelerated_scan``'s ``scan(gates, tokens)``, both (B C T)."""

    names = ("scan",)
    parameters = ("gates", "tokens")
    package = "accelerated_scan"
    probes = ("gates",)
    at_most = None

    def steps(self, of: Arguments) -> Steps:
        return diagonal(of.timed("gates", -1), of.timed("tokens", -1))

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(-1, 0).unsqueeze(-1)


class AssociativeScan(Scan):
    """torch's ``associative_scan`` over pairs (a, b), combined as ``(a a', a' b + b')``."""

    names = ("associative_scan",)
    parameters = ("combine_fn", "xs", "dim")
    package = "torch"
    probes = ("decay",)
    at_most = None

    def unpacked(self, given: dict[str, Any]) -> dict[str, Any]:
        pair = given["xs"]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            return given
        return {**given, "decay": pair[0], "written": pair[1]}

    def takes(self, of: Arguments) -> bool:
        pair = of["xs"]
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or of.get("reverse", False):
            return False
        if not all(isinstance(one, Tensor) and one.is_floating_point() for one in pair):
            return False
        return pair[0].dim() > 1 and _is_linear(of["combine_fn"])

    def steps(self, of: Arguments) -> Steps:
        axis = of["dim"]
        return diagonal(of.timed("decay", axis).flatten(2), of.timed("written", axis).flatten(2))

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(of["dim"], 0).flatten(2).unsqueeze(-1)

    def output(self, result: Any) -> Tensor:
        tensor: Tensor = result[1]
        return tensor

    def final(self, result: Any) -> Tensor | None:
        return None


def _is_linear(combine: Any) -> bool:
    """Whether a function of two pairs is that of a linear recurrence, by three pairs of numbers."""
    left, right = torch.tensor([0.5, -0.7, 1.3]), torch.tensor([0.9, 0.4, -0.2])
    first, second = torch.tensor([2.0, -1.0, 0.3]), torch.tensor([-0.6, 1.1, 0.8])
    try:
        with torch.no_grad():
            decay, written = combine((left, first), (right, second))
            return bool(
                torch.allclose(decay, left * right)
                and torch.allclose(written, right * first + second)
            )
    except Exception:  # noqa: BLE001  — a user's function, which may refuse these shapes
        return False
