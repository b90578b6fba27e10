"""Plates: each picture of a page together with the words that explain it."""

from throughtime.report.plates.plate import Plate

__all__ = ["Plate"]
