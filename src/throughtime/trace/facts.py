"""What was seen of the model as a whole: its parameters, its recurrent modules, its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterFact:
    """One parameter after the run.

    Attributes:
        name: as in ``model.named_parameters()``; for one that the model does not list, the name of
            its layer in the trace before its own.
        module: the name of the module that owns it, empty for the model itself.
        shape: its size along each axis.
        requires_grad: False for a frozen one.
        registered: whether ``model.parameters()`` lists it.
        gradient: what the backward passes left in ``.grad``: ``none``, ``zero``, ``finite``,
            ``non-finite``; ``unknown`` where it held one before, or nothing can be claimed.
        largest: the largest entry of that gradient by magnitude; None where there is none.
        value: the largest entry of the parameter by magnitude, NaN or inf where one is.
        scale: the root mean square of its entries.
        changed: what the forward pass did to it: ``written``, ``replaced`` by another parameter,
            ``by design`` (an embedding with ``max_norm``), or nothing.
        way: functions of the graph right above it that can make a NaN, where its gradient is not
            finite: ``("SqrtBackward0",)``.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    requires_grad: bool
    registered: bool
    gradient: str
    largest: float | None
    value: float
    scale: float
    changed: str = ""
    way: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many entries it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ModuleFact:
    """One module that owns parameters, or is recurrent.

    Attributes:
        name: as in ``model.named_modules()``; of one that is not registered that in the trace.
        kind: the name of its class.
        recurrent: whether it is a recurrent layer or cell.
        registered: whether ``model.modules()`` lists it.
        ran: whether it was called in the run.
        held_in: for one that is not registered the attribute that holds it, if one does.
        batch_first: whether its batch axis comes first.
        hidden: its number of hidden units, 0 where it has none.
    """

    name: str
    kind: str
    recurrent: bool
    registered: bool
    ran: bool
    held_in: str = ""
    batch_first: bool = False
    hidden: int = 0


@dataclass(frozen=True)
class Facts:
    """What surrounds the recurrence: the loss, the parameters and the modules of one run.

    Attributes:
        losses: what each backward pass started from.
        parameters: all of the model, and those of unregistered layers that ran inside.
        modules: those that own them.
        swept: whether a backward pass filled ``.grad``; else nothing is known of gradients.
        put_back: whether parameters that the forward pass changed hold their old values again.
        ends: for each sequence of the batch where its input begins to stand still, as padding
            does; empty where that is not so.
    """

    losses: tuple[float, ...] = ()
    parameters: tuple[ParameterFact, ...] = ()
    modules: tuple[ModuleFact, ...] = ()
    swept: bool = False
    put_back: bool = False
    ends: tuple[int, ...] = ()
