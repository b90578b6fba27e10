"""``replace_``: another cell in the place of every recurrent layer of a model, all else untouched.

The remedy for what no weights of the old cell can cure: an Elman network that loses half of its
gradient at every step becomes an LSTM (Hochreiter & Schmidhuber 1997), whose cell adds up.
"""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from throughtime.cells import LRU, RecurrentLayer, make_cell
from throughtime.errors import InputError, ThroughtimeWarning
from throughtime.problem import seeded
from throughtime.remedies.replacement.stand_in import StandIn, parts_of

Model = TypeVar("Model", bound=nn.Module)
Layer = nn.RNNBase | RecurrentLayer | StandIn

_LAYERS = (nn.RNN, nn.LSTM, nn.GRU, RecurrentLayer, StandIn)
_FORWARDS = {kind.forward for kind in _LAYERS}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def replace_(
    model: Model,
    cell: str,
    *,
    layers: str | Sequence[str] | None = None,
    generator: torch.Generator | None = None,
    **settings: Any,
) -> Model:
    """Put a new ``cell`` in the place of every recurrent layer of ``model``; the rest stays.

    The new layer has the old one's input_size, hidden_size, num_layers, bias, batch_first, dropout,
    bidirectional, dtype, device and mode, and fresh weights, as its paper draws them. Code around
    it goes on: ``out, h = self.rnn(x)``, ``h[-1]``, a state passed in, a PackedSequence. Where a
    state has another form now, a ``StandIn`` translates:

    - One tensor before, several now (RNN to LSTM): h carries the other parts with it, also through
      ``detach``, ``clone``, ``to`` and indexing. Passed in, a tensor that carries nothing has to be
      zero: c is never made up, and never forgotten.
    - A pair before, one tensor now (LSTM to GRU): the pair is (h, h). Passed in, c has to be h or
      zero.

    It helps where the cell itself makes gradients fade or blow up and no initialisation cures that.
    It does not help where the data or the window ends first, and nothing that was learned remains.
    Beside an RNN of the same H a GRU has 3 times as many parameters and an LSTM 4 times; the
    read-out reads H features as before. Code that asks for the class of its layer sees another.

    Make the optimizer afterwards: one made before knows nothing of the new parameters, and a
    warning says so where such a one is found.

    Args:
        model: holds the layers (nn.RNN, nn.LSTM, nn.GRU, or of ``throughtime.cells``), at any
            depth; one that stands at two places stays one.
        cell: a name of ``throughtime.cells.CELLS``.
        layers: a name as in ``model.named_modules()``, or several; None for all.
        generator: what the weights are drawn from; None for torch's global one.
        settings: the cell's own, as ``span`` for ``"indrnn"``.

    Returns:
        The model.

    Raises:
        InputError: an unknown cell, setting or layer; a model without a recurrent layer, or that is
            one itself; a layer with projection, hooks or a forward of its own. Nothing is changed.
    """
    replaced = _replaced(model, cell, layers, generator, settings)
    if _in_an_optimizer(replaced):
        warnings.warn(
            "an optimizer still holds parameters of the layers that replace_ took out, and would "
            "train none of the new ones: make it anew",
            ThroughtimeWarning,
            stacklevel=2,
        )
    return model


def _replaced(
    model: nn.Module,
    cell: str,
    layers: str | Sequence[str] | None,
    generator: torch.Generator | None,
    settings: dict[str, Any],
) -> list[weakref.ref[nn.Parameter]]:
    """Do it, once all new layers are made; what is left of the old ones, if anybody holds them."""
    places = _places(model, layers)
    old = {id(layer): (name, layer) for name, layer in reversed(places)}
    for name, layer in old.values():
        _check(name, layer)
    with _drawing(generator):
        new = {key: _made(name, layer, cell, settings) for key, (name, layer) in old.items()}
    for name, layer in places:
        model.set_submodule(name, new[id(layer)])
    return [weakref.ref(weight) for _, layer in old.values() for weight in layer.parameters()]


def _places(model: nn.Module, wanted: str | Sequence[str] | None) -> list[tuple[str, Layer]]:
    """Every place of every layer that is meant, by name."""
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    if any(isinstance(part, DistributedDataParallel) for part in model.modules()):
        raise InputError(
            "replace_ cannot change what DistributedDataParallel has wrapped: replace first, then "
            "wrap the model"
        )
    found = list(_recurrent(model))
    names = [name for name, _ in found]
    if not found:
        raise InputError(
            f"no recurrent layer in this {type(model).__name__} that could be replaced: it takes "
            "an nn.RNN, nn.LSTM, nn.GRU or a layer of throughtime.cells (of a loop over an "
            "nn.LSTMCell the loop would have to change)"
        )
    for name in () if wanted is None else wanted:
        if name not in names:
            raise InputError(f"no recurrent layer {name!r} in this model: it has {_listed(names)}")
    chosen = {id(layer) for name, layer in found if wanted is None or name in wanted}
    places = [(name, layer) for name, layer in found if id(layer) in chosen]
    if not places:
        raise InputError(f"layers is empty: name some of {_listed(names)}, or None for all")
    if not all(name for name, _ in places):
        raise InputError(
            f"this {type(model).__name__} is the layer itself, and no place to put another in: "
            "give the model that holds it, or make one with throughtime.cells.make_cell"
        )
    return places


def _recurrent(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    """All recurrent layers by name, a shared one under each of its names."""
    inside = "\0"
    for name, part in model.named_modules(remove_duplicate=False):
        if isinstance(part, _LAYERS) and not name.startswith(inside):
            yield name, part
        if isinstance(part, StandIn):
            inside = f"{name}." if name else ""


def _check(name: str, layer: Layer) -> None:
    """Raise ``InputError`` for a layer of which replacement would lose something."""
    kind = type(layer).__name__
    if layer.proj_size if isinstance(layer, nn.RNNBase) else 0:
        raise InputError(
            f"layer {name!r} projects its state to {layer.proj_size} features, which no other cell "
            "does: make it without proj_size, or choose others with layers="
        )
    if type(layer).forward not in _FORWARDS or "forward" in vars(layer):
        raise InputError(
            f"layer {name!r} ({kind}) has a forward of its own, which would be lost: replace "
            "it by hand, or choose others with layers="
        )
    if any(getattr(layer, hooks) for hooks in _HOOKS):
        raise InputError(
            f"layer {name!r} ({kind}) has hooks, which would be lost: remove them before"
        )


def _made(name: str, old: Layer, cell: str, settings: dict[str, Any]) -> nn.Module:
    """The new layer that takes the place of ``old``: the cell itself, or one standing in."""
    source: Any = old.cell if isinstance(old, StandIn) else old
    weight = next(source.parameters())
    same = {
        "num_layers": source.num_layers,
        "bias": source.bias,
        "batch_first": source.batch_first,
        "bidirectional": source.bidirectional,
    }
    if taken := settings.keys() & {*same, "dropout", "device", "dtype"}:
        raise InputError(f"replace_ keeps {_listed(sorted(taken))} as layer {name!r} has it")
    # Drawn on the CPU, and at least in float32, so that a seed means the same weights everywhere.
    drawn = torch.promote_types(weight.dtype, torch.float32)
    settings = {**same, "device": "cpu", "dtype": drawn, **settings}
    made: Any = make_cell(cell, source.input_size, source.hidden_size, **settings)
    made.dropout = source.dropout
    made.to(device=weight.device, dtype=weight.dtype)
    if not _fits(old, made):
        replaced = old.replaced if isinstance(old, StandIn) else repr(source)
        made = StandIn(made, cell.replace("-", "_"), _is_pair(old), name, replaced)
    placed: nn.Module = made.train(source.training)
    return placed


def _fits(old: Layer, new: nn.Module) -> bool:
    """Whether the caller will not see a difference between the two: no one has to stand in."""
    if len(parts_of(new)) != 1 + _is_pair(old):
        return False
    if isinstance(new, LRU) and not isinstance(old, LRU):
        return False  # its state is not its output
    return isinstance(new, nn.RNNBase) or isinstance(old, RecurrentLayer)


def _is_pair(layer: Layer) -> bool:
    """Whether the caller knows its state as a pair."""
    return layer.pair if isinstance(layer, StandIn) else len(parts_of(layer)) == 2


def _drawing(generator: torch.Generator | None) -> AbstractContextManager[None]:
    if generator is None:
        return nullcontext()
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return seeded(int(seed))


def _in_an_optimizer(weights: Iterable[weakref.ref[nn.Parameter]]) -> bool:
    """Whether one of the parameters is still alive in a group of parameters of an optimizer."""
    alive = [weight for one in weights if (weight := one()) is not None]
    if not alive:
        return False
    lists = [one for one in gc.get_referrers(*alive) if isinstance(one, list)]
    groups = [one for one in gc.get_referrers(*lists) if isinstance(one, dict) and "lr" in one]
    return any(group.get("params") is one for group in groups for one in lists)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
