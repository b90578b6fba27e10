"""The demo from end to end: what it trains, what it prints, the report that it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from throughtime.demo import sentences
from throughtime.demo.reading import READERS, Reader, read_the_manual
from throughtime.demo.recall import NETWORKS, Recall, recall
from throughtime.errors import InputError, counted, plain, unknown
from throughtime.files import check_writable
from throughtime.report import Section, write_report
from throughtime.report.text import side_by_side
from throughtime.tasks.name_recall import STORYTELLERS, LanguageName

_ROOM = 2**20  # bytes: no report is larger


@dataclass(frozen=True)
class Effort:
    """How long the demo trains. The defaults take well under a minute on two cores.

    Attributes:
        reading: updates of each language model.
        recall: updates at each distance of name recall, at most.
        longest: the longest distance of name recall that is tried, in tokens.
    """

    reading: int = 120
    recall: int = 400
    longest: int = 64


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        readers: the language models by name, with their diagnoses.
        recalls: name recall, network by network.
        sentence: what was seen, in one sentence.
        report: the HTML file.
        seconds: how long all of it took.
    """

    readers: dict[str, Reader]
    recalls: tuple[Recall, ...]
    sentence: str
    report: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, ready for JSON."""
        readers = {
            name: {**asdict(reader), "diagnosis": reader.diagnosis.to_dict()}
            for name, reader in self.readers.items()
        }
        recalls = [
            {**asdict(one), "recalls": one.recalls, "forgets": one.forgets} for one in self.recalls
        ]
        return {**vars(self), "readers": readers, "recalls": recalls, "report": str(self.report)}


def run_demo(
    console: Console,
    report: Path,
    *,
    language: LanguageName = "en",
    seed: int = 0,
    effort: Effort | None = None,
) -> DemoResult:
    """Train on real text and on name recall, print how far back each network sees, and report it.

    Args:
        console: where to print; a live bar in a terminal, plain lines elsewhere.
        report: the HTML file to write.
        language: of the name-recall stories.
        seed: of everything random.
        effort: how long to train.

    Raises:
        InputError: the language is not known, or the report cannot be written there.
        OSError: the disk refuses the report.
    """
    if language not in STORYTELLERS:
        raise InputError(unknown("language", language, STORYTELLERS))
    check_writable(report, _ROOM)  # now, not after the training
    effort = effort or Effort()
    start = time.perf_counter()
    with _one_thread():
        readers, read = _reading(console, effort, seed)
        recalls, recalled = _recalling(console, effort, language, seed)
    diagnoses = {label: reader.diagnosis for label, reader in readers.items()}
    written = write_report(diagnoses, report, [read, recalled])
    sentence = sentences.seen(recalls)
    seconds = time.perf_counter() - start
    console.print()
    console.print(Text(sentence, style="bold"))
    console.print(
        Text(f"The report is in {plain(written)} ({counted(round(seconds), 'second')} in all).")
    )
    return DemoResult(readers, recalls, sentence, written, seconds)


def _reading(console: Console, effort: Effort, seed: int) -> tuple[dict[str, Reader], Section]:
    _heading(console, "1  Reading: a word-level language model of the manual of Python")
    readers = {
        label: read_the_manual(console, cell, label, effort.reading, seed)
        for label, cell in READERS.items()
    }
    section = sentences.reading_table(readers)
    _print_table(console, section)
    console.print()
    side_by_side({label: reader.diagnosis for label, reader in readers.items()}, console)
    return readers, section


def _recalling(
    console: Console, effort: Effort, language: LanguageName, seed: int
) -> tuple[tuple[Recall, ...], Section]:
    example = STORYTELLERS[language].example
    _heading(console, f"2  Recalling a name: {example}")
    recalls = tuple(
        recall(console, network, language, longest=effort.longest, steps=effort.recall, seed=seed)
        for network in NETWORKS
    )
    section = sentences.recall_table(recalls, example, effort.recall)
    _print_table(console, section)
    return recalls, section


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: steps this small gain little from a second, and wait for it if busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    console.print()


def _print_table(console: Console, section: Section) -> None:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for number, column in enumerate(section.columns):
        table.add_column(Text(column), justify="right" if number else "left")
    for row in section.rows:
        table.add_row(*(Text(str(entry)) for entry in row))
    console.print(table)
    console.print()
    console.print(Text(section.paragraphs[-1], style="dim"))
