"""Every ``Remedy`` that a file of ``initialisation/`` declares, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from throughtime.remedies import initialisation
from throughtime.remedies.remedy import Remedy


def _declared() -> Iterator[Remedy]:
    for file in pkgutil.iter_modules(initialisation.__path__):
        held = vars(importlib.import_module(f"{initialisation.__name__}.{file.name}"))
        yield from (one for one in held.values() if isinstance(one, Remedy))


CATALOGUE: dict[str, Remedy] = {one.name: one for one in _declared()}
