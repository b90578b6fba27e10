"""A diagnosis as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from throughtime.errors import InputError
from throughtime.files import write_atomically
from throughtime.findings import Diagnosis
from throughtime.report.section import Section
from throughtime.report.wording import check_diagnosis


def render_html(
    diagnosis: Diagnosis | Mapping[str, Diagnosis],
    extra: Sequence[Section] = (),
    language: str = "en",
) -> str:
    """The page as text: the verdict, why, pictures, layers, notes, how each number was obtained.

    Several named diagnoses make a page that compares them. To stay under 1 MB, the page leaves out
    the pictures of the last of many layers, and says so.
    ``language`` is ``"en"`` or ``"ko"``.

    Raises ``InputError`` for an empty mapping, another language, or a measurement that contradicts
    its own axes.
    """
    # Here and not above, so that `import throughtime` loads neither matplotlib nor jinja2.
    from throughtime.report import page

    several = diagnosis if isinstance(diagnosis, Mapping) else {"": diagnosis}
    if not several:
        raise InputError("there is nothing to report: give at least one named diagnosis")
    for one in several.values():
        check_diagnosis(one)
    return page.render(several, extra, language)


def write_report(
    diagnosis: Diagnosis | Mapping[str, Diagnosis],
    path: str | os.PathLike[str],
    extra: Sequence[Section] = (),
    language: str = "en",
) -> Path:
    """Write the page of ``render_html`` to ``path``, whole or not at all; returns the path.

    Raises ``InputError`` as ``render_html`` does, and for a path that is no plain file or lies in
    no folder; ``OSError`` where the disk refuses. The file that was there is then untouched.
    """
    return write_atomically(path, render_html(diagnosis, extra, language))
