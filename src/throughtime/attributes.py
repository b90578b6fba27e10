"""What a user's modules keep in plain attributes: a state from batch to batch, a counter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from throughtime.carried import detached, moved, tensors

Held = dict[str, dict[str, Any]]
"""By the name of the module and of the attribute."""

_NUMBERS = (type(None), bool, int, float, str)
_DEEPEST = 8  # containers within containers
_OF_TORCH = {*vars(nn.Module()), "_flat_weights", "_flat_weight_refs", "_all_weights"}
_NOT_USERS = ("torch.", "throughtime.")  # where a module's class is defined


class Attributes:
    """The plain attributes of a model as they are now: to go back to, or to see what changed.

    Plain are tensors, numbers, text and None, in tuples, lists and dictionaries. torch's own
    modules are left out, and so is a lazy module that finds its shape when it first runs.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._modules = [
            (name, module, set(vars(module)), _noted(module))
            for name, module in model.named_modules()
            if not type(module).__module__.startswith(_NOT_USERS) and not _is_shapeless(module)
        ]

    def put_back(self) -> None:
        """Make all of them what they were."""
        for _, module, names, noted in self._modules:
            for name in [name for name in _plain(module) if name not in names]:
                del vars(module)[name]
            vars(module).update({name: note.put_back() for name, note in noted.items()})

    def changed(self) -> Held:
        """Those that are no longer what they were, without their graphs.

        Left out is what shares its memory with a parameter or a buffer, which has it anyway.
        """
        owned = [*self._model.parameters(), *self._model.buffers()]
        known = {tensor.untyped_storage().data_ptr() for tensor in owned}
        found: Held = {}
        for name, module, _, noted in self._modules:
            own = {
                attribute: detached(value)
                for attribute, value in _plain(module).items()
                if (attribute not in noted or not noted[attribute].holds(value))
                and not known & {one.untyped_storage().data_ptr() for one in tensors(value)}
            }
            found |= {name: own} if own else {}
        return found


def restore_attributes(model: nn.Module, held: Held) -> None:
    """Give a model what ``changed`` told of another one, on the device of its parameters."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for name, own in held.items():
        vars(model.get_submodule(name)).update(moved(own, device))


def with_a_graph(model: nn.Module) -> list[Tensor]:
    """The tensors in attributes that hang on the graph of a past forward pass, of all modules."""
    held = [value for module in model.modules() for value in vars(module).values()]
    return [tensor for tensor in tensors(held) if tensor.grad_fn is not None]


class _Note:
    """A plain value, and what is in it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._content: Any = None
        if isinstance(value, Tensor):
            self._content = value.detach().clone()
        elif isinstance(value, dict):
            self._content = {key: _Note(one) for key, one in value.items()}
        elif isinstance(value, (tuple, list)):
            self._content = [_Note(one) for one in value]

    def put_back(self) -> Any:
        """The same object with the same content."""
        value = self._value
        if isinstance(value, Tensor):
            if not torch.equal(value, self._content):
                with torch.no_grad():
                    value.copy_(self._content)
        elif isinstance(value, dict):
            content = {key: note.put_back() for key, note in self._content.items()}
            value.clear()
            value.update(content)
        elif isinstance(value, (tuple, list)):
            contents = [note.put_back() for note in self._content]
            if isinstance(value, list):
                value[:] = contents
        return value

    def holds(self, now: Any) -> bool:
        """Whether ``now`` is the same; of a tensor: the same object, not changed in place."""
        if isinstance(now, Tensor):
            return now is self._value and torch.equal(now, self._content)
        if type(now) is not type(self._value):
            return False
        if isinstance(now, dict):
            same = now.keys() == self._content.keys()
            return same and all(note.holds(now[key]) for key, note in self._content.items())
        if isinstance(now, (tuple, list)):
            pairs = zip(self._content, now, strict=False)
            return len(now) == len(self._content) and all(note.holds(one) for note, one in pairs)
        return bool(now is self._value or now == self._value)


def _is_shapeless(module: nn.Module) -> bool:
    return isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()


def _noted(module: nn.Module) -> dict[str, _Note]:
    return {name: _Note(value) for name, value in _plain(module).items()}


def _plain(module: nn.Module) -> dict[str, Any]:
    own = {name: value for name, value in vars(module).items() if name not in _OF_TORCH}
    return {name: value for name, value in own.items() if _is_plain(value)}


def _is_plain(value: Any, depth: int = 0) -> bool:
    kind = type(value)
    if kind in _NUMBERS:
        return True
    if kind is Tensor:
        stored = value.layout is torch.strided and not value.is_quantized
        return stored and value.device.type != "meta"
    if kind not in (tuple, list, dict) or depth == _DEEPEST:
        return False
    if kind is dict and not all(type(key) in (int, str) for key in value):
        return False
    return all(_is_plain(one, depth + 1) for one in (value.values() if kind is dict else value))
