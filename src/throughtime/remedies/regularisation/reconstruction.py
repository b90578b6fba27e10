"""Auxiliary reconstruction loss (Trinh, Dai, Luong & Le 2018): a state must tell what was read.

At an anchor, a random step, a small decoder starts from the state of the recurrent layer and says
again what the layer read in a stretch of time before: its gradient enters at the anchor, so that
what lies far back from the loss is near to one of the anchors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from throughtime.errors import InputError
from throughtime.problem import seeded
from throughtime.recording.unrolled import Unrolled
from throughtime.remedies.through_time.inside import Inside, run_as_it_is


class Reconstruction:
    """Adds ``weight ·`` the mean squared error of reconstructed inputs to the loss.

    In a loop of your own, or as ``Problem.backward``::

        reconstruction = Reconstruction(length=20, weight=1.0)
        loss = reconstruction(model, lambda: criterion(model(x), y))  # in place of loss.backward()

    The decoder, a GRU, is fed the input before each that it must tell, as the paper's may be. It
    belongs to this object, which trains it with Adam beside the model; ``state_dict`` holds it, and
    the generator that draws the anchors. Each layer and direction is asked for what it read; those
    on top of another in a stack are not. The paper cuts the gradient of the term off some steps
    before the anchor; here it goes as far back as that of the loss, in the same backward pass.

    Helps where the loss comes long after what it is about, and the input is worth being kept. Does
    not help where what must be kept is a small part of what was read (a marker in noise): most of
    the state then goes to what nobody asks for.

    Args:
        length: how many steps of the past are told at an anchor, at most.
        weight: of the term beside the loss.
        anchors: how many there are in each sequence.
        size: hidden units of the decoder.
        lr: its learning rate.
        seed: of its weights, and of the anchors.

    Attributes:
        value: the term at the last call, the weight not in it; the variance of the input is what a
            decoder gets that knows nothing but its mean.

    Raises:
        InputError: an argument that is out of range. By a call: the loss ran no recurrent layer (a
            cell in a loop is not seen) over two steps or more.
    """

    def __init__(
        self,
        length: int = 20,
        weight: float = 1.0,
        *,
        anchors: int = 1,
        size: int = 64,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        for name, value, least in (
            ("length", length, 1),
            ("weight", weight, 0),
            ("anchors", anchors, 1),
            ("size", size, 1),
            ("lr", lr, 0),
        ):
            if not least <= value < float("inf"):
                raise InputError(f"Reconstruction: {name} is {value}, and must be at least {least}")
        self.length, self.weight, self.anchors = length, weight, anchors
        self.size, self.lr, self.seed, self.value = size, lr, seed, 0.0
        self._decoders: list[Decoder] = []
        self._descents: list[torch.optim.Adam] = []
        self._draw = torch.Generator().manual_seed(seed)

    def __call__(self, model: nn.Module, make_loss: Callable[[], Tensor]) -> Tensor:
        """Run ``make_loss``, leave the gradient of its loss and the term, and return its loss."""
        runs: list[tuple[Unrolled, Tensor]] = []

        def record(run: Unrolled) -> Tensor:
            states = run_as_it_is(run)
            if len(states) > 1 and not _on_top(run):
                runs.append((run, states))
            return states

        with Inside(record):
            loss = make_loss()
        if not runs:
            raise InputError(
                f"Reconstruction: no recurrent layer ran over two steps or more in the loss of "
                f"this {type(model).__name__}: give it an nn.RNN, nn.LSTM, nn.GRU or a layer of "
                "throughtime.cells (a cell in a loop is not seen)"
            )
        decoders = [self._decoder(n, *run) for n, run in enumerate(runs)]
        for descent in self._descents:
            descent.zero_grad()
        term = torch.stack(
            [
                self._error(decoder, *run)
                for decoder, run in zip(decoders, runs, strict=True)
                for _ in range(self.anchors)
            ]
        ).mean()
        (loss + self.weight * term.to(loss)).backward()
        self.value = float(term.detach())
        if math.isfinite(self.value):
            for descent in self._descents[: len(runs)]:
                descent.step()
        return loss.detach()

    def __repr__(self) -> str:
        return (
            f"Reconstruction(length={self.length}, weight={self.weight:g}, anchors={self.anchors}, "
            f"size={self.size}, lr={self.lr:g}, seed={self.seed})"
        )

    def state_dict(self) -> dict[str, Any]:
        """The decoders, the states of their optimisers, and that of the generator of anchors."""
        return {
            "decoders": [decoder.state_dict() for decoder in self._decoders],
            "descents": [descent.state_dict() for descent in self._descents],
            "draw": self._draw.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``."""
        self._decoders, self._descents = [], []
        for weights, descent in zip(state["decoders"], state["descents"], strict=True):
            reads, told = weights["start.weight"].shape[1], weights["tell.weight"].shape[0]
            self._add(Decoder(reads, told, self.size).to(weights["start.weight"]))
            self._decoders[-1].load_state_dict(weights)
            self._descents[-1].load_state_dict(descent)
        self._draw.set_state(state["draw"])

    def _decoder(self, n: int, run: Unrolled, states: Tensor) -> Decoder:
        """That of the layer which is the n-th to run; made when it first does."""
        reads, told = states.shape[-1], run.inputs.shape[-1]
        if n == len(self._decoders):
            with seeded(self.seed + n):
                self._add(Decoder(reads, told, self.size).to(states))
        decoder = self._decoders[n]
        if (decoder.start.in_features, decoder.tell.out_features) != (reads, told):
            raise InputError(
                f"Reconstruction: the layer that runs as number {n + 1} has {told} inputs and a "
                f"state of {reads} numbers, and had {decoder.tell.out_features} and "
                f"{decoder.start.in_features} before: take one Reconstruction for each model"
            )
        return decoder

    def _add(self, decoder: Decoder) -> None:
        self._decoders.append(decoder)
        self._descents.append(torch.optim.Adam(decoder.parameters(), lr=self.lr))

    def _error(
        self, decoder: Decoder, run: Unrolled, states: Float[Tensor, "T B S"]
    ) -> Float[Tensor, ""]:
        """The mean squared error at one anchor in each sequence."""
        steps, batch = states.shape[:2]
        lengths = torch.tensor(run.place.lengths or (steps,) * batch)
        length = min(self.length, int(lengths.min()))
        anchors = length - 1 + self._choose(lengths - length + 1)
        starts = self._choose(anchors - length + 2)
        times = (starts + torch.arange(length).unsqueeze(1)).to(states.device)
        sequences = torch.arange(batch, device=states.device)
        inputs = run.inputs.detach().to(states)
        fed = inputs[(times - 1).clamp_min(0), sequences] * (times > 0).unsqueeze(-1)
        told = decoder(states[anchors.to(states.device), sequences], fed)
        error: Tensor = (told - inputs[times, sequences]).square().mean()
        return error

    def _choose(self, counts: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """One of 0 … count − 1 for each, all as likely."""
        drawn = torch.rand(len(counts), generator=self._draw, dtype=torch.float64)
        return (drawn * counts).long()


class Decoder(nn.Module):
    """A GRU that starts from a state and tells inputs one after another."""

    def __init__(self, reads: int, told: int, size: int) -> None:
        super().__init__()
        self.start, self.tell = nn.Linear(reads, size), nn.Linear(size, told)
        self.layer = nn.GRU(told, size)

    def forward(
        self, state: Float[Tensor, "B S"], fed: Float[Tensor, "L B I"]
    ) -> Float[Tensor, "L B I"]:
        """Each input, from the state and the inputs before it."""
        first = torch.tanh(self.start(state)).unsqueeze(0)
        told: Tensor = self.tell(self.layer(fed, first)[0])
        return told


def _on_top(run: Unrolled) -> bool:
    """Whether it reads what a layer of the same stack wrote."""
    return run.place.name.startswith(".l") and not run.place.name.startswith(".l0")
