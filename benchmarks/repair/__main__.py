"""``python -m benchmarks.repair [--jobs 2]``: train what is missing, print, write the pages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.repair import choosing, page, table, work
from benchmarks.repair.learning import learn, prescription
from benchmarks.repair.results import Outcome, outcomes
from benchmarks.repair.suite import BEYOND, CASES, REPEATS

DOCS = Path(__file__).parents[2] / "docs"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repair", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument(
        "--stages", nargs="*", choices=STAGES, default=list(STAGES), help="all, unless named"
    )
    given = parser.parse_args(arguments)
    console = Console()
    for name in given.stages:
        STAGES[name](console, given.jobs)
    found = results()
    for one in page.tables(found):
        one.show(console)
    for name, text in (
        ("repair", page.text(found, results(table.FIRST_RUN))),
        ("choosing", choosing.text(found)),
    ):
        (DOCS / f"{name}.md").write_text(text, encoding="utf-8")
        console.print(f"written to docs/{name}.md")


def results(prescriptions: Path = table.PRESCRIPTIONS) -> list[Outcome]:
    """Whatever is in the table."""
    return outcomes(CASES, table.read(prescriptions), table.read(table.TRAININGS))


def leave_untreated(console: Console, jobs: int) -> None:
    """Train every case as it is."""
    _train(list(work.untreated(CASES, REPEATS)), console, jobs)


def prescribe(console: Console, jobs: int) -> None:
    """Rank the remedies of every case that fails or learns as a whole."""
    wanted = [one for one in results() if one.learns or (one.case.sick and one.fails)]
    missing = [(one.case,) for one in wanted if not one.prescription]
    done = work.done(missing, prescription, jobs)
    for record in track(done, "prescriptions", len(missing), console=console):
        table.append(record, table.PRESCRIPTIONS)


def treat(console: Console, jobs: int) -> None:
    """Train what belongs to the suite, or learns anyway, with the remedies ranked first."""
    wanted = [one for one in results() if one.prescription and (one.belongs or one.learns)]
    cases, ranked = [one.case for one in wanted], [one.prescription for one in wanted]
    beyond = [one.case.name for one in wanted if one.belongs and one.case.name in BEYOND]
    _train(list(work.treated(cases, ranked, REPEATS, beyond)), console, jobs)


def _train(wanted: Sequence[work.Job], console: Console, jobs: int) -> None:
    """Train whatever of it has not been trained yet."""
    known = {(one["case"], one["remedy"], one["repeat"]) for one in table.read(table.TRAININGS)}
    missing = [job for job in wanted if (job.case.name, job.remedy, job.repeat) not in known]
    done = work.done(missing, learn, jobs)
    for record in track(done, "trainings", len(missing), console=console):
        table.append(record, table.TRAININGS)


STAGES = {"untreated": leave_untreated, "prescribe": prescribe, "treat": treat}


if __name__ == "__main__":
    main()
