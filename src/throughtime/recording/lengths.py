"""Which layers the lengths of a padded batch belong to: those that read the padded input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from throughtime.errors import InputError
from throughtime.recording.checks import check_lengths
from throughtime.trace import LayerTrace

OneLengths = Sequence[int] | Tensor
Lengths = OneLengths | Mapping[str, OneLengths]
"""The length of each sequence, of the model's input or by the name of a layer."""


def with_lengths(
    layers: list[LayerTrace], given: Lengths | None
) -> tuple[list[LayerTrace], list[str]]:
    """The layers with their lengths, and what a reader must know of those left without."""
    if given is None or not layers:
        return layers, []
    if isinstance(given, Mapping):
        return _named(layers, given), []
    first = layers[0]
    lengths = check_lengths(given, first.name, first.steps, first.batch)
    fitting = [
        layer for layer in layers if layer.lengths is None and _shape(layer) == _shape(first)
    ]
    notes = [
        f"lengths= was not given to layer {layer.name!r}, which starts from another layer's state "
        f"as a decoder does: if its sequences are padded, say lengths={{{layer.name!r}: [...]}}"
        for layer in fitting
        if layer.fed
    ]
    padded = {id(layer) for layer in fitting if not layer.fed}
    return [
        layer.with_lengths(lengths) if id(layer) in padded else layer for layer in layers
    ], notes


def _shape(layer: LayerTrace) -> tuple[int, int]:
    return layer.steps, layer.batch


def _named(layers: list[LayerTrace], given: Mapping[str, OneLengths]) -> list[LayerTrace]:
    """Lengths by the name of a layer, or of the module whose layers and directions they are."""
    found = list(layers)
    for name, lengths in given.items():
        own = [n for n, layer in enumerate(layers) if _is_of(layer.name, name)]
        if not own:
            names = ", ".join(repr(layer.name) for layer in layers)
            raise InputError(f"lengths names a layer {name!r}; choose from: {names}")
        for n in own:
            layer = layers[n]
            if layer.lengths is None:
                checked = check_lengths(lengths, layer.name, layer.steps, layer.batch)
                found[n] = layer.with_lengths(checked)
    return found


def _is_of(layer: str, name: str) -> bool:
    return layer == name or layer.startswith((f"{name}.l", f"{name}.reverse"))
