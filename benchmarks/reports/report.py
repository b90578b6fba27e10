"""A public report, rebuilt small: what the person saw, and what the thread concludes.

The right answer comes from the thread (its maintainer, its accepted answer or its merged fix), and
was written down before throughtime was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.problem import seeded

Closure = Callable[[], Tensor]
Built = tuple[nn.Module, Closure]

HEALTHY = "healthy"
CARRIED = ("StateCarriedError", "state carried")
"""What a state that hangs on the graph of an earlier batch may be called."""


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        name: a few words.
        source: ``owner/repository#number`` on GitHub, or an address.
        saw: what the person saw or feared.
        cause: the first cause, as the thread concludes.
        right: the names of that cause; each of them is a right answer. A finding's disease, a
            verdict, or the name of an error.
        make: builds the model and the closure that returns its loss.
        also: what is true of the rebuilt model as well, and is no false cause.
        span: how many steps back the task needs to see, where the thread implies it.
    """

    name: str
    source: str
    saw: str
    cause: str
    right: frozenset[str]
    make: Callable[[], Built]
    also: frozenset[str] = frozenset()
    span: int | None = None

    def build(self, seed: int) -> Built:
        """The model and its closure, everything drawn from ``seed``."""
        with seeded(seed):
            return self.make()

    @property
    def address(self) -> str:
        """The address of the thread."""
        if "#" not in self.source:
            return self.source
        repository, number = self.source.split("#")
        return f"https://github.com/{repository}/issues/{number}"


def report(
    source: str,
    *,
    saw: str,
    cause: str,
    right: tuple[str, ...],
    also: tuple[str, ...] = (),
    span: int | None = None,
) -> Callable[[Callable[[], Built]], Report]:
    """Make a report of the function that builds its model; its name is the report's."""

    def of(make: Callable[[], Built]) -> Report:
        name = make.__name__.replace("_", " ")
        return Report(name, source, saw, cause, frozenset(right), make, frozenset(also), span)

    return of


def remembering(rnn: nn.Module, bias: float = 5.0) -> nn.Module:
    """The layer with the carrying gates (LSTM's forget, GRU's update gate) wide open.

    This stands for a trained network whose memory is in order.
    """
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if "bias_hh" in name:
                size = len(parameter) // (4 if "LSTM" in type(rnn).__name__ else 3)
                parameter[size : 2 * size] = bias
    return rnn


def padded(lengths: Tensor, steps: int, features: int) -> Tensor:
    """Noise (B T F) that is zero from each sequence's length on."""
    inputs = torch.randn(len(lengths), steps, features)
    return inputs * (torch.arange(steps) < lengths[:, None])[..., None]
