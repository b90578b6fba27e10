"""One file for each package; each has ``MODELS``. To add a model, add an entry to its file."""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.models.model import PublicModel


def all_models() -> list[PublicModel]:
    """The models of every file in this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    files = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [model for file in files for model in file.MODELS]
