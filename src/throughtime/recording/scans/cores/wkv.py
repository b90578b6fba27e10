"""WKV-4 (Peng et al. 2023): a quotient of two sums with one decay a channel, ``exp(−exp w)``."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class WKV4(Scan):
    """``(n, d)_t = exp(−eʷ) (n, d)_{t−1} + e^{k_t} (v_t, 1)``, read before the step.

    ``y_t = (n_{t−1} + e^{u+k_t} v_t) / (d_{t−1} + e^{u+k_t})``. The running maximum that the code
    carries is bookkeeping. Here both sums are scaled once and for all by the largest key of each
    sequence and channel, which changes no Jacobian.
    """

    names = ("rwkv_linear_attention", "rwkv_linear_attention_cpu")
    parameters = ("time_decay", "time_first", "key", "value", "state")
    probes = ("time_decay", "key")
    reads_before = True

    def steps(self, of: Arguments) -> Steps:
        strength, value = torch.exp(of.timed("key") - self._scale(of)), of.timed("value")
        decay = torch.exp(-torch.exp(of.fixed("time_decay")))[None, None, :, None, None]
        key = torch.ones(1, 1, 1, 1, dtype=value.dtype, device=value.device)
        return Steps(decay, key, torch.stack([strength * value, strength], -1))

    def _scale(self, of: Arguments) -> Tensor:
        largest = of["key"].detach().double().amax(1)
        state = of.get("state")
        return largest if state is None else torch.maximum(largest, state[2].double())

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        bonus = torch.exp(of.timed("key") + of.fixed("time_first") - self._scale(of))
        numerator, denominator = reads.unbind(-1)
        whole = (numerator + bonus * of.timed("value")) / (denominator + bonus)
        return whole.unsqueeze(-1)

    def initial(self, of: Arguments) -> Tensor | None:
        state = of.get("state")
        if state is None:
            return None
        scale = torch.exp(state[2].double() - self._scale(of))
        return torch.stack([state[0].double() * scale, state[1].double() * scale], -1).unsqueeze(-2)

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(1, 0).unsqueeze(-1)
