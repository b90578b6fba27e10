"""What a cell computes, and its exact derivative beside it."""

from throughtime.recurrences.base import Linearised, Recurrence
from throughtime.recurrences.carrying import Carried, Gate, Mixing, back, forward
from throughtime.recurrences.custom import Custom
from throughtime.recurrences.driven import Driven
from throughtime.recurrences.elman import Elman
from throughtime.recurrences.gru import GRU
from throughtime.recurrences.joined import Segment, Segments, Stacked
from throughtime.recurrences.lstm import LSTM
from throughtime.recurrences.unrolling import Place, unroll

__all__ = [
    "GRU",
    "LSTM",
    "Carried",
    "Custom",
    "Driven",
    "Elman",
    "Gate",
    "Linearised",
    "Mixing",
    "Place",
    "Recurrence",
    "Segment",
    "Segments",
    "Stacked",
    "back",
    "forward",
    "unroll",
]
