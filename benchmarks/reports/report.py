"""A public report, rebuilt as a small model, with the cause that the thread concludes.

The right answer comes from the thread: from its maintainer, its answer, its merged fix or the code
that it shows. It was written down before throughtime diagnosed the model.
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
"""The names for a state that is attached to the graph of an earlier batch."""


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        name: a few words.
        source: ``owner/repository#number`` on GitHub, or an address.
        saw: what the person saw or feared.
        cause: the first cause, as the thread concludes.
        right: the right answers: diseases, verdicts or names of errors.
        make: builds the model and the closure that returns its loss.
        also: other findings that are true of the rebuilt model.
        span: how many steps back the task needs to see, if the thread implies it.
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
        """Build the model and its closure; all random numbers come from ``seed``."""
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
    """Turn a function that builds a model into a report of the same name."""

    def of(make: Callable[[], Built]) -> Report:
        name = make.__name__.replace("_", " ")
        return Report(name, source, saw, cause, frozenset(right), make, frozenset(also), span)

    return of


def remembering(rnn: nn.Module, bias: float = 5.0) -> nn.Module:
    """Open the forget gates of an LSTM or the update gates of a GRU.

    The layer then stands for a trained network with a working memory.
    """
    with torch.no_grad():
        for name, parameter in rnn.named_parameters():
            if "bias_hh" in name:
                size = len(parameter) // (4 if "LSTM" in type(rnn).__name__ else 3)
                parameter[size : 2 * size] = bias
    return rnn


def padded(lengths: Tensor, steps: int, features: int) -> Tensor:
    """Noise (B T F), zero beyond the length of each sequence."""
    inputs = torch.randn(len(lengths), steps, features)
    return inputs * (torch.arange(steps) < lengths[:, None])[..., None]
