"""One sweep over loss, parameters and ``.grad``: what a run did to all that is no state.

Parameters are copied when a capture opens and compared when its first backward pass begins, so
that an optimizer's step is not taken for the forward pass's. What lies in ``.grad`` is read after
each backward pass, before the user's loop may clear it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from throughtime.cells import RecurrentLayer
from throughtime.recording.ways import suspects
from throughtime.trace import Facts, ModuleFact, ParameterFact

# What a later backward pass leaves counts for more than what an earlier one left.
_GRADIENTS = ("none", "zero", "finite", "unknown", "non-finite")


def original(name: str) -> str:
    """The name of a module without the wrapper that ``torch.compile`` puts around it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@dataclass(eq=False)
class _Watched:
    """A parameter, and what became of its gradient."""

    parameter: nn.Parameter
    name: str
    module: str
    registered: bool
    gradient: str = "none"
    largest: float | None = None
    stale: bool = False
    stale_finite: bool = True
    way: tuple[str, ...] = ()

    def add(self, largest: float | None) -> None:
        """One more backward pass left a gradient with this largest entry, or none at all."""
        found = "none" if largest is None else _kind(largest)
        if self.stale and found != "none" and (found != "non-finite" or not self.stale_finite):
            found = "unknown"
        elif largest is not None and found != "unknown":
            grows = self.largest is None or not largest <= self.largest  # NaN is the largest
            self.largest = largest if grows else self.largest
        self.gradient = max(self.gradient, found, key=_GRADIENTS.index)


@dataclass(eq=False)
class Sweep:
    """Watches the parameters of ``model`` from ``begin`` on.

    Attributes:
        model: the user's.
        ran: the modules that ran, by identity, with their names in the trace.
        losses: what each backward pass started from.
    """

    model: nn.Module
    ran: dict[int, tuple[str, nn.Module]] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._copies: dict[int, tuple[nn.Parameter, Tensor]] = {}
        self._owned: list[tuple[nn.Module, dict[str, nn.Parameter | None]]] = []
        self._watched: dict[int, _Watched] = {}
        self._gradients: list[tuple[Tensor, Tensor | None]] = []  # of the unregistered
        self._values: dict[int, tuple[float, float]] = {}
        self._written: set[int] = set()
        self._replaced: set[int] = set()
        self._asked: list[Tensor] = []  # what autograd.grad started from
        self._looked = self._swept = self._put_back = False

    @torch.no_grad()
    def begin(self) -> None:
        """Copy every parameter, as it is before the forward pass."""
        self._owned = [
            (module, dict(module._parameters))
            for module in self.model.modules()
            if not isinstance(module, torch.jit.ScriptModule)  # whose parameters are torch's own
        ]
        for name, parameter in self.model.named_parameters():
            if _readable(parameter):
                self._watch(parameter, original(name), original(name).rpartition(".")[0], True)
                self._copies[id(parameter)] = (parameter, parameter.detach().clone())

    def before(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        """A backward pass begins: its loss; and at the first, what the forward pass changed."""
        roots = args[0] if args else kwargs.get("tensors", kwargs.get("outputs"))
        given = roots if isinstance(roots, (tuple, list)) else (roots,)
        scalars = [one for one in given if isinstance(one, Tensor) and one.numel() == 1]
        kept = self._asked if function is torch.autograd.grad else self.losses
        kept += [one.detach().clone() for one in scalars if not one.is_complex()]
        if not self._looked:
            self._look()

    def after(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        """A backward pass has ended: what it left in ``.grad``, if it filled that at all."""
        if function is torch.autograd.grad or kwargs.get("inputs") is not None:
            return
        self._swept = True
        for one, largest in _gradients(list(self._watched.values())):
            one.add(largest)
        sick = [one for one in self._watched.values() if one.gradient == "non-finite"]
        if sick and not any(one.way for one in sick):
            ways = suspects(args[0] if args else None, [one.parameter for one in sick])
            for one, way in zip(sick, ways, strict=True):
                one.way = way

    def facts(self, ends: tuple[int, ...] = ()) -> Facts:
        """All that was seen, as plain data."""
        self._look()
        losses = self.losses or self._asked
        return Facts(
            tuple(float(loss) for loss in losses),
            tuple(self._parameter(one) for one in self._watched.values()),
            tuple(self._modules()),
            self._swept,
            self._put_back,
            ends,
        )

    @torch.no_grad()
    def put_back(self) -> None:
        """Give every parameter the value, and every module the parameters, that it had.

        Those that ran and are not registered get back the gradient that they had.
        """
        for module, owned in self._owned:
            if _others(module._parameters, owned):
                for name in owned:
                    vars(module).pop(name, None)
                module._parameters.clear()
                module._parameters.update(owned)
                if isinstance(module, nn.RNNBase):
                    names = module._flat_weights_names
                    module._flat_weights = [getattr(module, name, None) for name in names]
        for parameter, copy in self._copies.values():
            if parameter.shape == copy.shape and not _same(parameter, copy):
                parameter.data.copy_(copy)
        for unregistered, gradient in self._gradients:
            unregistered.grad = gradient
        self._put_back = True

    def _watch(self, parameter: nn.Parameter, name: str, module: str, registered: bool) -> None:
        self._watched.setdefault(id(parameter), _Watched(parameter, name, module, registered))

    @torch.no_grad()
    def _look(self) -> None:
        """Once: compare with the copies, add what is new, and see what ``.grad`` holds already."""
        self._meet_the_unregistered()
        if self._looked:
            return
        self._looked = True
        for key, (parameter, copy) in self._copies.items():
            if parameter.shape != copy.shape or not _same(parameter, copy):
                self._written.add(key)
        for module, owned in self._owned:
            others = _others(module._parameters, owned)
            gone = [owned.get(name) for name in others]
            self._replaced |= {id(parameter) for parameter in gone if parameter is not None}
        for one, largest in _gradients(list(self._watched.values())):
            one.stale = largest is not None and largest != 0
            one.stale_finite = largest is None or _kind(largest) != "non-finite"
        for one in self._watched.values():
            self._values[id(one.parameter)] = _values(one.parameter)

    def _meet_the_unregistered(self) -> None:
        registered = {id(module) for module in self.model.modules()}
        for key, (name, module) in self.ran.items():
            if key in registered:
                continue
            for own, parameter in module.named_parameters():
                if _readable(parameter) and id(parameter) not in self._watched:
                    self._watch(parameter, f"{name}.{own}", name, False)
                    self._values[id(parameter)] = _values(parameter)
                    held = parameter.grad
                    self._gradients.append((parameter, held if held is None else held.clone()))

    def _parameter(self, one: _Watched) -> ParameterFact:
        parameter, key = one.parameter, id(one.parameter)
        changed = "replaced" if key in self._replaced else ""
        if not changed and key in self._written:
            changed = "by design" if self._renormalised(one.module) else "written"
        hooks = getattr(parameter, "_post_accumulate_grad_hooks", None)
        known = self._swept and not hooks  # a hook may step, and clear the gradient, on its own
        return ParameterFact(
            one.name,
            one.module,
            tuple(parameter.shape),
            parameter.requires_grad,
            one.registered,
            one.gradient if known else "unknown",
            one.largest if known else None,
            *self._values.get(key, (0.0, 0.0)),
            changed,
            one.way,
        )

    def _renormalised(self, name: str) -> bool:
        named = {original(one): module for one, module in self.model.named_modules()}
        return getattr(named.get(name), "max_norm", None) is not None

    def _modules(self) -> Iterator[ModuleFact]:
        registered = set()
        for name, module in self.model.named_modules():
            registered.add(id(module))
            if recurrent(module) or next(module.parameters(recurse=False), None) is not None:
                ran = id(module) in self.ran
                yield _module(original(name), module, registered=True, ran=ran)
        for key, (name, module) in self.ran.items():
            if key not in registered:
                held = _holder(self.model, module)
                yield _module(name, module, registered=False, ran=True, held_in=held)


def recurrent(module: nn.Module) -> bool:
    """Whether it is a recurrent layer or cell, torch's or one of ``throughtime.cells``."""
    return isinstance(module, (nn.RNNBase, nn.RNNCellBase, RecurrentLayer))


def _module(
    name: str, module: nn.Module, *, registered: bool, ran: bool, held_in: str = ""
) -> ModuleFact:
    hidden = getattr(module, "hidden_size", 0)
    return ModuleFact(
        name,
        type(module).__name__,
        recurrent(module),
        registered,
        ran,
        held_in,
        getattr(module, "batch_first", False) is True,
        hidden if isinstance(hidden, int) else 0,
    )


def _holder(model: nn.Module, held: nn.Module) -> str:
    """The attribute whose list, tuple or dictionary holds a module that is not registered."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute[0] == "_" or not isinstance(value, (list, tuple, dict)):
                continue
            inside = value.values() if isinstance(value, dict) else value
            if any(one is held for one in inside):
                return ".".join(part for part in (original(name), attribute) if part)
    return ""


def _others(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """The names under which there is another parameter, or one where there was none."""
    names = [*before, *(name for name in now if name not in before)]
    return [
        name
        for name in names
        if now.get(name) is not before.get(name) and not _appeared(before.get(name))
    ]


def _appeared(before: nn.Parameter | None) -> bool:
    """A lazy parameter gets its content at the first call: nothing was replaced."""
    return before is not None and is_lazy(before)


def _readable(parameter: Tensor) -> bool:
    return not is_lazy(parameter) and parameter.device.type != "meta" and parameter.numel() > 0


def _same(now: Tensor, before: Tensor) -> bool:
    if torch.equal(now, before):
        return True
    return bool(((now == before) | (now.isnan() & before.isnan())).all())


def _values(parameter: Tensor) -> tuple[float, float]:
    """The largest entry by magnitude, and the root mean square."""
    content = parameter.detach().abs().double()
    largest = float(content.amax())
    if not largest:
        return 0.0, 0.0
    return largest, float((content / largest).square().mean().sqrt()) * largest


@torch.no_grad()
def _gradients(watched: list[_Watched]) -> list[tuple[_Watched, float | None]]:
    """The largest entry by magnitude of each ``.grad``, None where there is none."""
    found: list[Tensor | None] = [_largest(one.parameter.grad) for one in watched]
    on: dict[torch.device, list[int]] = {}
    for n, one in enumerate(found):
        if one is not None:
            on.setdefault(one.device, []).append(n)
    numbers: dict[int, float] = {}
    for places in on.values():
        held = torch.stack([one.double() for n in places if (one := found[n]) is not None])
        numbers |= dict(zip(places, held.tolist(), strict=True))
    return [(one, numbers.get(n)) for n, one in enumerate(watched)]


def _largest(gradient: Tensor | None) -> Tensor | None:
    if gradient is None:
        return None
    gradient = gradient.detach()
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    return gradient.abs().amax() if gradient.numel() else gradient.new_zeros(())


def _kind(largest: float) -> str:
    if largest == 0:
        return "zero"
    return "finite" if largest < float("inf") else "non-finite"
