"""The architectures, from every file of this folder that has ``MIXERS``."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.modern.mixers.mixer import Mixer


def all_mixers() -> dict[str, Mixer]:
    """By name."""
    names = [file.name for file in pkgutil.iter_modules(__path__) if file.name.startswith("of_")]
    files = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    return {mixer.name: mixer for file in files for mixer in file.MIXERS}
