"""What a loop is called: the module that it runs or stands in, else its function and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from throughtime.recording.discovery.code import Code
from throughtime.recording.discovery.events import Site
from throughtime.recording.discovery.graph import Graph
from throughtime.recording.discovery.loops import Loop

# What only moves a state, as the loop around a cell does: it does not say whose state it is.
_MOVES = frozenset(
    {
        "stack", "cat", "__getitem__", "unbind", "chunk", "split", "clone", "contiguous", "view",
        "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "expand", "to",
        "select", "movedim", "detach", "type_as", "float", "index_select", "__setitem__",
    }
)  # fmt: skip  # a list, not a column


def name_of(
    loop: Loop, sites: Sequence[Site], graph: Graph, path: Callable[[int], str | None]
) -> str:
    """``path``: what the model calls a module, by identity; None for one that it does not hold."""
    events = [graph.events[n] for n in loop.events]
    making = {event.site for event in events if event.name not in _MOVES} or loop.sites
    stacks = [sites[site].modules for site in making]
    shortest = min(map(len, stacks))
    same = next((n for n in range(shortest) if len({stack[n] for stack in stacks}) > 1), shortest)
    for module in reversed(stacks[0][:same]):
        if name := path(module):
            return name
    return place_of(loop, sites)


def place_of(loop: Loop, sites: Sequence[Site]) -> str:
    """``forward:12``."""
    return "{}:{}".format(*_function(loop, sites))


def where_of(loop: Loop, sites: Sequence[Site]) -> str:
    """``model.py:12``."""
    context = loop.context
    code = (_last(loop, sites) if context is None else context.code).code
    return f"{Path(code.co_filename).name}:{_function(loop, sites)[1]}"


def _function(loop: Loop, sites: Sequence[Site]) -> tuple[str, int]:
    context = loop.context
    if context is not None:
        return context.code.code.co_name, context.line
    code = _last(loop, sites).code
    return code.co_name, code.co_firstlineno


def _last(loop: Loop, sites: Sequence[Site]) -> Code:
    """The function that makes what a loop hands on, where no loop of Python shows."""
    return sites[list(loop.steady)[-1]].frames[0][0]
