"""``Watch``: which modules of a model run, how often, and where their outputs stand in the graph.

Nothing is attached to the model: the hooks are torch's global ones, and are gone with the block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import _C, Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules import module as module_hooks
from torch.nn.utils.rnn import PackedSequence

from throughtime.cells import RecurrentLayer

THE_INPUT, THE_OUTPUT = "the input", "the model's output"

_BATCH_FIRST = (
    nn.RNNBase, RecurrentLayer, nn.MultiheadAttention, nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer, nn.TransformerEncoder, nn.TransformerDecoder,
)  # fmt: skip  # a list, not a column


@dataclass(frozen=True, eq=False)
class Seen:
    """A tensor that went into or came out of a module.

    Attributes:
        module: by identity.
        name, kind: path and class of the module; ``"the input"`` for what the model was given.
        call: how many calls of this module came before.
        output: it came out of the module.
        edge: its place in autograd's graph.
        shape, dtype, device: of the tensor.
        sizes: batch sizes, of a PackedSequence.
        leaf: the module holds no others.
        ids: shape of the integer tensor that the module was given, if it was.
    """

    module: int
    name: str
    kind: str
    call: int
    output: bool
    edge: GradientEdge
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    sizes: Tensor | None = None
    leaf: bool = False
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Hint:
    """What a module tells of time by its own convention: how many steps, on which axis.

    ``axes``: how many axes its input has. ``channels``: of a convolution.
    """

    steps: int
    axis: int
    axes: int
    channels: int = 0


Change = Callable[[int, bool, int, Tensor], Tensor]
"""What to make of a tensor: the module, whether it is its output, which call, the tensor."""


@dataclass(eq=False)
class Watch:
    """Watches the modules of ``model`` in this thread, while it is entered.

    Attributes:
        grow: the tensors that the model is given become differentiable: copies that need a
            gradient take their place.
        change: is shown every tensor, and may replace it.
        packed: something waits for what autograd saves, as a checkpoint does.
    """

    model: nn.Module
    grow: bool = False
    change: Change | None = None
    seen: list[Seen] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    calls: dict[int, int] = field(default_factory=dict)
    token_ids: bool = False
    paused: bool = False
    packed: bool = False

    def __post_init__(self) -> None:
        self.names = {id(module): name for name, module in self.model.named_modules()}
        self._open: list[nn.Module] = []
        self._stack = ExitStack()
        self._thread = 0
        self._first = True
        self._keyword_inputs: list[Tensor] = []

    def __enter__(self) -> Watch:
        self._thread = threading.get_ident()
        register: Callable[..., Any] = module_hooks.register_module_forward_pre_hook
        before = register(self._before)
        self._stack.callback(before.remove)
        after = module_hooks.register_module_forward_hook(self._after)
        self._stack.callback(after.remove)
        if self.grow and not isinstance(self.model, torch.jit.ScriptModule):
            # Global hooks are shown no keywords; this one is gone with the block.
            own = self.model.register_forward_pre_hook(self._keywords, with_kwargs=True)
            self._stack.callback(own.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._open.clear()

    def forget(self) -> None:
        """Let go of the graph."""
        self.seen.clear()

    def _ours(self, module: nn.Module) -> bool:
        return (
            not self.paused and threading.get_ident() == self._thread and id(module) in self.names
        )

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self._ours(module):
            return None
        self.packed |= _C._autograd._top_saved_tensors_default_hooks(False) is not None
        root, hinting = not self._open, _hints(module)
        self._open.append(module)
        self._note_ids(args if root else ())
        call = self.calls.get(id(module), 0)
        self.calls[id(module)] = call + 1
        if not (root or hinting) or not args:
            return None
        if hinting and (hint := _hint(module, args[0])) is not None:
            self.hints.append(hint)
        given = list(args)
        if root and self.grow:
            given = [_grown(one) for one in given]
        for n, one in enumerate(given if root else given[:1]):
            given[n] = self._look(module, one, call, output=False)
        changed = any(one is not other for one, other in zip(given, args, strict=True))
        return tuple(given) if changed else None

    def _keywords(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        grown = {name: _grown(value) for name, value in kwargs.items()}
        self._note_ids((*args, *grown.values()))
        call = self.calls.get(id(module), 1) - 1
        return args, {
            name: self._look(module, value, call, output=False) for name, value in grown.items()
        }

    def _note_ids(self, given: tuple[Any, ...]) -> None:
        """Whether the first tensor that the model is given holds token ids."""
        first = next((one for one in given if isinstance(one, Tensor)), None)
        if self._first and first is not None:
            self._first = False
            self.token_ids = not (first.is_floating_point() or first.is_complex())

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not self._ours(module) or module not in self._open:
            return None
        del self._open[len(self._open) - 1 - self._open[::-1].index(module) :]
        call = self.calls.get(id(module), 1) - 1
        ids = next((tuple(a.shape) for a in args if isinstance(a, Tensor)), None)
        if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            ids = None
        if isinstance(output, (Tensor, PackedSequence)):
            looked = self._look(module, output, call, output=True, ids=ids)
            return looked if looked is not output else None
        if isinstance(output, tuple) and type(output) is tuple and output:
            first = self._look(module, output[0], call, output=True, ids=ids)
            self._show(module, output[1:], call)
            return (first, *output[1:]) if first is not output[0] else None
        self._show(module, output, call)
        return None

    def _show(self, module: nn.Module, output: Any, call: int) -> None:
        """Note the tensors in a nest, in which none can be replaced."""
        for one in tensors(output):
            if self._look(module, one, call, output=True) is not one:
                raise RuntimeError("a tensor that a module returns in a nest cannot be replaced")

    def _look(self, module: nn.Module, value: Any, call: int, output: bool, ids: Any = None) -> Any:
        """Note a tensor, after ``change`` has had it."""
        if self.change is not None and isinstance(value, Tensor):
            value = self.change(id(module), output, call, value)
        if isinstance(value, (Tensor, PackedSequence)):
            self._note(module, value, call, output, ids)
        return value

    def _note(
        self,
        module: nn.Module,
        value: Tensor | PackedSequence,
        call: int,
        output: bool,
        ids: tuple[int, ...] | None = None,
    ) -> None:
        packed = isinstance(value, PackedSequence)
        tensor = value.data if isinstance(value, PackedSequence) else value
        if not tensor.requires_grad or not tensor.is_floating_point():
            return
        root = not output and not self._open[1:]
        name = THE_INPUT if root else self.names[id(module)] or THE_OUTPUT
        self.seen.append(
            Seen(
                id(module),
                name,
                type(module).__name__,
                call,
                output,
                get_gradient_edge(tensor),
                tuple(tensor.shape),
                tensor.dtype,
                tensor.device,
                value.batch_sizes if packed and isinstance(value, PackedSequence) else None,
                leaf=next(module.children(), None) is None,
                ids=ids,
            )
        )

    @property
    def normalises(self) -> bool:
        """Whether a module that ran mixes the sequences of a batch."""
        return any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and id(module) in self.calls
            for module in self.model.modules()
        )

    def counted(self) -> list[tuple[str, str, int]]:
        """Path, class and number of calls of every module that ran, in the order of first calls."""
        kinds = {id(module): type(module).__name__ for module in self.model.modules()}
        return [(self.names[key], kinds[key], number) for key, number in self.calls.items()]


def tensors(value: Any, depth: int = 0) -> Iterator[Tensor | PackedSequence]:
    """The tensors in what a module gave back, however they are nested."""
    if isinstance(value, (Tensor, PackedSequence)):
        yield value
    elif depth > 4:
        return
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors(one, depth + 1)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one, depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from tensors(getattr(value, part.name, None), depth + 1)


def _grown(value: Any) -> Any:
    """A copy that needs a gradient; anything else as it is."""
    if isinstance(value, PackedSequence):
        return value._replace(data=_grown(value.data))
    if not isinstance(value, Tensor) or value.requires_grad or not value.is_floating_point():
        return value
    if value.dim() < 1 or not torch.is_grad_enabled() or type(value) is not Tensor:
        return value
    # Not the leaf itself, into which the model may not write.
    return value.detach().requires_grad_().clone()


def _hints(module: nn.Module) -> bool:
    return isinstance(module, (*_BATCH_FIRST, nn.Conv1d))


def _hint(module: nn.Module, given: Any) -> Hint | None:
    if isinstance(given, PackedSequence):
        return Hint(len(given.batch_sizes), 1 if getattr(module, "batch_first", False) else 0, 3)
    if not isinstance(given, Tensor) or given.dim() < 2:
        return None
    if isinstance(module, nn.Conv1d):
        axis = given.dim() - 1
    else:
        first = getattr(module, "batch_first", None)
        if first is None:  # torch's stacks keep it in their layers
            parts = (getattr(one, "batch_first", None) for one in module.modules())
            first = next((one for one in parts if one is not None), False)
        axis = 1 if first and given.dim() > 2 else 0
    channels = module.in_channels if isinstance(module, nn.Conv1d) else 0
    steps = given.shape[axis]
    return Hint(steps, axis, given.dim(), channels) if steps > 1 else None
