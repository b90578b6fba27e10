"""A ``Diagnosis`` made readable: in the terminal, as pictures, as one HTML file.

Needs neither the model nor torch. ``text`` and ``figures`` load rich and matplotlib, and so are
loaded themselves only when first used.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from throughtime.report.html import render_html, write_report
from throughtime.report.section import Section

__all__ = ["Section", "figures", "render_html", "text", "write_report"]


def __getattr__(name: str) -> ModuleType:
    if name in {"figures", "text"}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
