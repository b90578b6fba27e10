"""The Korean words of everything that a report says, by their English ones."""

from __future__ import annotations

from throughtime.report.korean.captions import CAPTIONS
from throughtime.report.korean.labels import LABELS
from throughtime.report.korean.names import NAMES
from throughtime.report.korean.sentences import SENTENCES

KOREAN = {**NAMES, **LABELS, **SENTENCES, **CAPTIONS}

__all__ = ["KOREAN"]
