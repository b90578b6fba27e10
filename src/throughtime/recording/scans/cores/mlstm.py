"""mLSTM (Beck et al. 2024): a matrix memory and a normaliser, with one forget gate a head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from throughtime.recording.scans.form import Arguments, Steps
from throughtime.recording.scans.registry import Scan


class MLSTM(Scan):
    """``C_t = f C_{t−1} + i k vᵀ``, ``n_t = f n_{t−1} + i k``; n is a further column of C.

    ``y_t = Cᵀq / max(|nᵀq|, 1)``, in units without the stabiliser m, which is bookkeeping; it shows
    in the ε that the kernels add to the denominator alone. All tensors are (B H T ·).
    """

    names = (
        "mLSTMBackend.forward",
        "xLSTMBackend.forward",
        "mlstm_chunkwise__native_autograd",
        "mlstm_chunkwise__native_custbw",
        "mlstm_chunkwise_native_autograd",
        "mlstm_recurrent_sequence_native",
        "mlstm_recurrent_sequence__native_fw",
        "mlstm_parallel__native_autograd",
        "mlstm_parallel__native_custbw",
        "mlstm_parallel__native_stablef_autograd",
        "mlstm_parallel__native_stablef_custbw",
        "parallel_stabilized_simple",
    )
    parameters = (
        ("query", "q", "queries"),
        ("key", "k", "keys"),
        ("value", "v", "values"),
        ("igate", "i", "igate_preact"),
        ("fgate", "f", "fgate_preact"),
    )
    probes = ("fgate", "igate", "key")

    def steps(self, of: Arguments) -> Steps:
        forget, enter = _gate(of, "fgate"), _gate(of, "igate")
        decay = torch.exp(logsigmoid(forget))[..., None, None]
        query, key, value = (of.timed(name, 2) for name in ("query", "key", "value"))
        counted = torch.cat([value, torch.ones_like(value[..., :1])], -1)
        return Steps(
            decay, key, counted * torch.exp(enter).unsqueeze(-1), query * key.shape[-1] ** -0.5
        )

    def read(self, of: Arguments, steps: Steps, reads: Tensor) -> Tensor:
        numerator, normaliser = reads[..., :-1], reads[..., -1:]
        return numerator / (normaliser.abs().clamp_min(1) + _epsilon(of) * _stabiliser(of))

    def initial(self, of: Arguments) -> Tensor | None:
        memory, counts, scale = (of.get(f"{name}_initial") for name in "cnm")
        if memory is None or counts is None:
            return None
        whole = torch.cat([memory.double(), counts.double().reshape(*memory.shape[:3], 1)], -1)
        if scale is None:
            return whole
        return whole * torch.exp(scale.double().reshape(*memory.shape[:2], 1, 1))

    def arrange(self, output: Tensor, of: Arguments) -> Tensor:
        return output.movedim(2, 0)

    def final(self, result: object) -> Tensor | None:
        return None


def _gate(of: Arguments, name: str) -> Tensor:
    gate = of.timed(name, 2)
    return gate.squeeze(-1) if gate.dim() == 4 else gate


def _epsilon(of: Arguments) -> float:
    module = of.get("self")
    given = of.get("eps", getattr(getattr(module, "config", None), "eps", 1e-6))
    return float(given)


def _stabiliser(of: Arguments) -> Tensor:
    """``exp m_t`` of these steps, ``m_t = max(log f_t + m_{t−1}, i_t)``, from the first step on."""
    forget, enter = of["fgate"].detach().double(), of["igate"].detach().double()
    shape = forget.shape[:3]
    forget, enter = logsigmoid(forget.reshape(shape)), enter.reshape(shape)
    total = forget.cumsum(-1)
    largest = (enter - total).cummax(-1).values
    stabiliser = torch.exp((total + largest).movedim(2, 0)).unsqueeze(-1)
    return stabiliser if of.part is None else stabiliser[of.part]
