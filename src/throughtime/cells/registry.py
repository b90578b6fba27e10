"""Every recurrent layer by its short name: torch's own and ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from throughtime.cells.antisymmetric import AntisymmetricRNN
from throughtime.cells.cornn import CoRNN
from throughtime.cells.indrnn import IndRNN
from throughtime.cells.janet import JANET
from throughtime.cells.lem import LEM
from throughtime.cells.lru import LRU
from throughtime.cells.mingru import MinGRU
from throughtime.cells.orthogonal import OrthogonalRNN
from throughtime.errors import InputError, unknown

CELLS: dict[str, Callable[..., nn.Module]] = {
    "rnn": nn.RNN,
    "relu-rnn": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "janet": JANET,
    "indrnn": IndRNN,
    "antisymmetric": AntisymmetricRNN,
    "cornn": CoRNN,
    "lem": LEM,
    "mingru": MinGRU,
    "lru": LRU,
    "orthogonal": OrthogonalRNN,
}
"""What makes each layer: ``(input_size, hidden_size, num_layers=1, …)`` as ``nn.LSTM``."""


def make_cell(name: str, inputs: int, hidden: int, **settings: Any) -> nn.Module:
    """The recurrent layer of this name: input (T B I), output (T B H).

    Args:
        name: one of ``CELLS``.
        inputs: input features I.
        hidden: hidden units H.
        settings: what the layer takes beside them: ``num_layers``, ``bias``, ``batch_first``,
            ``dropout``, ``bidirectional``, ``device``, ``dtype``, and the cell's own.

    Raises:
        InputError: no cell has this name, or it does not take these settings.
    """
    if name not in CELLS:
        raise InputError(unknown("cell", name, CELLS))
    try:
        return CELLS[name](inputs, hidden, **settings)
    except TypeError as error:
        raise InputError(f"cell {name!r} does not take these settings: {error}") from error
