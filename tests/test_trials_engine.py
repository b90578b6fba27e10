"""The loop of a sweep, with workers that do as they are told: lost, busy, failing, stopped."""

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sweep_runs import ran, setting

from throughtime.trials import ClusterError, Setting, engine
from throughtime.trials.engine import STRIKES, work_through
from throughtime.trials.one import Outcome, claim_path
from throughtime.trials.workers import LostWorkerError

Act = Callable[[Setting], Outcome]
DONE = Outcome("done")


class Scripted:
    """Workers that give, or raise, one answer after the other, the last one for ever."""

    def __init__(self, *answers: Outcome | BaseException, before: Act | None = None) -> None:
        self.answers, self.before = list(answers), before
        self.asked: list[Setting] = []
        self.stops: set[str] = set()

    def submit(self, setting: Setting, folder: str, stop: str) -> Future[Outcome]:
        self.asked.append(setting)
        self.stops.add(stop)
        future: Future[Outcome] = Future()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.before is not None:
            self.before(setting)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        return future.result()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TICK", "_AGAIN", "_GRACE"):
        monkeypatch.setattr(engine, name, 0.01)


def worked(
    folder: Path, workers: Scripted, *settings: Setting
) -> tuple[list[Outcome], list[Outcome]]:
    """What the engine returns, and what it told on the way."""
    told: list[Outcome] = []
    asked = settings or (setting(),)
    left = work_through(asked, folder, workers, lambda _setting, outcome: told.append(outcome))
    return [left[one] for one in asked if one in left], told


def test_every_setting_is_asked_for_once(tmp_path: Path) -> None:
    settings, workers = [setting(seeds=[seed]) for seed in range(5)], Scripted(DONE)
    assert worked(tmp_path, workers, *settings) == ([DONE] * 5, [DONE] * 5)
    assert workers.asked == settings


def test_what_is_finished_is_not_asked_for(tmp_path: Path) -> None:
    ran(tmp_path, setting())
    workers = Scripted(DONE)
    worked(tmp_path, workers, setting(), setting(seeds=[1]))
    assert workers.asked == [setting(seeds=[1])]


def test_a_setting_whose_process_was_killed_is_asked_for_again(tmp_path: Path) -> None:
    workers = Scripted(LostWorkerError("killed"), DONE)
    assert worked(tmp_path, workers) == ([DONE], [DONE])
    assert len(workers.asked) == 2


def test_a_setting_that_kills_its_process_every_time_has_failed(tmp_path: Path) -> None:
    workers = Scripted(LostWorkerError("killed"))
    (outcome,), _ = worked(tmp_path, workers)
    assert (outcome, len(workers.asked)) == (Outcome("failed", f"killed, {STRIKES} times"), STRIKES)


def test_who_had_not_begun_is_not_blamed(tmp_path: Path) -> None:
    guilty, waiting = setting(), setting(seeds=[1])
    (tmp_path / "runs").mkdir()

    def claim(asked: Setting) -> Outcome:
        if asked == guilty:
            claim_path(tmp_path, asked).touch()
        return DONE

    lost = LostWorkerError("killed")
    workers = Scripted(*[lost] * (2 * STRIKES), DONE, before=claim)
    left, _ = worked(tmp_path, workers, guilty, waiting)
    assert [outcome.status for outcome in left] == ["failed", "done"]


def test_what_another_process_holds_is_asked_for_until_it_is_free(tmp_path: Path) -> None:
    busy = Outcome("busy", "held")
    workers = Scripted(busy, busy, DONE)
    assert worked(tmp_path, workers) == ([DONE], [busy, busy, DONE])


def test_what_could_not_be_sent_has_failed(tmp_path: Path) -> None:
    workers = Scripted(TypeError("cannot pickle"))
    assert worked(tmp_path, workers)[0] == [Outcome("failed", "TypeError: cannot pickle")]


@pytest.mark.parametrize("error", [ClusterError("gone"), KeyboardInterrupt()])
def test_what_ends_a_sweep_is_told_and_tells_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    class Ending(Scripted):
        def outcome(self, future: Future[Outcome]) -> Outcome:
            assert not Path(next(iter(self.stops))).exists()
            raise error

    seen: list[bool] = []
    workers = Ending(DONE)
    waiting = engine.wait

    def spied(pending: Any, *more: Any) -> Any:
        seen.extend(Path(stop).exists() for stop in workers.stops)
        return waiting(pending, *more)

    monkeypatch.setattr(engine, "wait", spied)
    with pytest.raises(type(error)):
        worked(tmp_path, workers, setting(), setting(seeds=[1]))
    assert seen == [False, True]
    assert not any(Path(stop).exists() for stop in workers.stops)


def test_who_does_not_end_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    class Deaf(Scripted):
        def submit(self, setting: Setting, folder: str, stop: str) -> Future[Outcome]:
            future: Future[Outcome] = Future()
            future.set_running_or_notify_cancel()
            if self.asked:
                future.set_result(DONE)
            self.asked.append(setting)
            return future

        def outcome(self, future: Future[Outcome]) -> Outcome:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worked(tmp_path, Deaf(DONE), setting(), setting(seeds=[1]))
    assert time.monotonic() - began < 30


def test_ctrl_c_waits_also_for_the_first_process_that_starts() -> None:
    """Python starts its resource tracker with it, which unblocks Ctrl-C in whoever starts it."""
    code = """
        import signal
        from multiprocessing import resource_tracker
        from throughtime.trials.workers import _deaf_to_the_terminal
        with _deaf_to_the_terminal():
            resource_tracker.ensure_running()
            print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"
