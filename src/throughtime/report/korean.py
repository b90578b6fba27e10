"""The Korean words, by their English ones."""

from __future__ import annotations

KOREAN: dict[str, str] = {}
