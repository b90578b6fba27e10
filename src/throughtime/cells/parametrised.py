"""Parametrised weights in a module that is still copied, pickled and run as any other.

``torch.nn.utils.parametrize`` gives the module a class of its own. Copies made by ``deepcopy``
share it, so that a parametrisation removed from one is gone from both; pickle refuses it; and the
list of weights that ``nn.LSTM`` and its sisters hand to their kernel holds results of an earlier
forward pass.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


def parametrise(module: nn.Module, name: str, by: nn.Module) -> None:
    """Make the parameter ``name`` of ``module`` the output of ``by``, its source the parameter.

    An optimizer that was made before goes on with the same parameter, if ``by.right_inverse``
    returns one tensor.
    """
    parametrize.register_parametrization(module, name, by)
    make_portable(module)


def make_portable(module: nn.Module) -> None:
    """Let a module that torch has parametrised be copied and pickled, and a fused kernel run it."""
    kind: Any = type(module)  # this module's alone: torch made it when it parametrised it
    kind.__reduce_ex__ = _reduced
    if "__deepcopy__" in vars(kind):
        del kind.__deepcopy__  # copies would share the class
    if isinstance(module, nn.RNNBase):
        kind.forward = _forward
        kind.flatten_parameters = _nothing_to_flatten
        kind._flat_weights = property(_weights_now, _keep_parameters)
        module._init_flat_weights()


def _reduced(self: nn.Module, _protocol: object) -> tuple[Any, ...]:
    names = tuple(self.parametrizations)  # type: ignore[arg-type]  # a module's attribute has no type
    return _shell, (_original(self), names), _original(self).__getstate__(self)


def _shell(original: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    """A module of the class that torch makes for these parametrised names; its state is to come."""
    module = original.__new__(original)
    nn.Module.__init__(module)
    for name in names:
        module.register_buffer(name, torch.empty(()))
        parametrize.register_parametrization(module, name, nn.Identity())
    if isinstance(module, nn.RNNBase):
        module._flat_weights_names = []
        module._flat_weight_refs = []
    make_portable(module)
    return module


def _original(module: nn.Module) -> Any:
    return parametrize.type_before_parametrizations(module)


def _forward(self: nn.RNNBase, *args: Any, **kwargs: Any) -> Any:
    """Every weight is computed once, however often the layer asks for it."""
    with parametrize.cached(), warnings.catch_warnings():
        if next(self.parameters()).is_cuda:
            scattered = "RNN module weights are not part of single"
            warnings.filterwarnings("ignore", scattered)  # just computed: cuDNN copies them
        return _original(self).forward(self, *args, **kwargs)


def _nothing_to_flatten(_self: nn.RNNBase) -> None:
    """What is computed anew for every forward pass has no place to be flattened in."""


def _weights_now(self: nn.RNNBase) -> list[Tensor]:
    return [getattr(self, name) for name in self._flat_weights_names]


def _keep_parameters(self: nn.RNNBase, _weights: object) -> None:
    """Keep no computed weight, which could not be copied; torch fills the gaps when it next runs.

    It does so once the last parametrisation is gone and with it this property.
    """
    held = [self._parameters.get(name) for name in self._flat_weights_names]
    self.__dict__["_flat_weights"] = held
