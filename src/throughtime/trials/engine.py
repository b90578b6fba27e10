"""The loop of a study: every trial is finished once, whatever happens to who runs it."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from throughtime.trials.one import Outcome, claim_path, is_finished, result_of, run_path
from throughtime.trials.trial import Trial
from throughtime.trials.workers import ClusterError, LostWorkerError, Workers

Tell = Callable[[Trial, Outcome], object]

STRIKES = 3
"""A trial whose process is killed so often has failed."""

_TICK = 0.5  # seconds between two looks at what came back
_AGAIN = 2.0  # seconds before a trial that another process holds is asked for again
_GRACE = 20.0  # seconds for the trials under way to end when the study is stopped


def work_through(
    trials: Sequence[Trial], folder: Path, workers: Workers, tell: Tell
) -> dict[Trial, Outcome]:
    """Run every trial that is not finished, and return how each of those was left.

    A trial that another process holds, that of a second study in the same directory, is waited
    for. On Ctrl-C, or any other error here, the workers are asked to end.

    Args:
        trials: in this order.
        folder: the study's directory.
        workers: who runs them.
        tell: called with each outcome, those that are not final among them.
    """
    stop = folder / f"stop-{secrets.token_hex(8)}"
    engine = _Engine(folder, stop, workers, tell)
    try:
        return engine.run(trials)
    except BaseException:
        stop.touch()
        engine.abandon()
        raise
    finally:
        stop.unlink(missing_ok=True)


class _Engine:
    def __init__(self, folder: Path, stop: Path, workers: Workers, tell: Tell) -> None:
        self._folder, self._stop, self._workers, self._tell = folder, stop, workers, tell
        self._pending: dict[Future[Outcome], Trial] = {}
        self._busy: dict[Trial, float] = {}  # when to ask again
        self._strikes: Counter[Trial] = Counter()
        self._outcomes: dict[Trial, Outcome] = {}

    def run(self, trials: Sequence[Trial]) -> dict[Trial, Outcome]:
        for trial in trials:
            if not is_finished(result_of(run_path(self._folder, trial))):
                self._submit(trial)
        while self._pending or self._busy:
            if self._pending:
                done = wait(self._pending, _TICK, FIRST_COMPLETED).done
                self._take([(self._pending.pop(future), future) for future in done])
            else:
                time.sleep(_TICK)
            for trial in [one for one, when in self._busy.items() if when < time.monotonic()]:
                del self._busy[trial]
                self._submit(trial)
        return self._outcomes

    def abandon(self) -> None:
        """Nothing new is begun; what is under way may end, if that is soon."""
        for future, trial in self._pending.items():
            # A future of a cluster would let itself be cancelled while its trial is running.
            if not claim_path(self._folder, trial).exists():
                future.cancel()
        time.sleep(_TICK)  # one that began just now looks for the sign of the stop first
        wait([future for future in self._pending if not future.cancelled()], _GRACE)

    def _submit(self, trial: Trial) -> None:
        future = self._workers.submit(trial, str(self._folder), str(self._stop))
        self._pending[future] = trial

    def _take(self, done: list[tuple[Trial, Future[Outcome]]]) -> None:
        begun = {trial for trial, _ in done if claim_path(self._folder, trial).exists()}
        begun = begun or {trial for trial, _ in done}  # killed before it could begin
        for trial, future in done:
            try:
                outcome = self._workers.outcome(future)
            except LostWorkerError as error:
                self._strikes[trial] += trial in begun
                if self._strikes[trial] < STRIKES:
                    self._submit(trial)
                    continue
                outcome = Outcome("failed", f"{error}, {STRIKES} times")
            except ClusterError:
                raise
            except Exception as error:  # noqa: BLE001  — it could not be sent, or not run at all
                outcome = Outcome("failed", f"{type(error).__name__}: {error}")
            if outcome.status == "busy":
                self._busy[trial] = time.monotonic() + _AGAIN
            else:
                self._outcomes[trial] = outcome
            self._tell(trial, outcome)
