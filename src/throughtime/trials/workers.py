"""Where trials are run: processes of this machine, or a Dask cluster. Both take one at a time.

Both are ``concurrent.futures`` executors, so that one loop (``engine.py``) serves them:

- here joblib's own (loky). ``joblib.Parallel`` would lose every result of a batch with one killed
  worker, and not say which trials had begun.
- on a cluster ``distributed``'s futures, not joblib's Dask backend, which packs several calls into
  one task of the scheduler: they would be lost together, and moved together. The scheduler gives
  the task of a worker that it has lost to another one, up to three times; there the trial takes
  over the lock of the dead process and goes on from its checkpoint. Should the worker be alive
  after all (a broken connection), its lock is refused, and the trial comes back as ``busy``.

So nothing rests on where a result was computed: what is finished is told by the run directories.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import (
    BrokenProcessPool,
)

from throughtime.errors import InputError, MissingExtraError, ThroughtimeError, plain
from throughtime.files import write_atomically
from throughtime.leaving import end_now, guard_exits
from throughtime.trials.one import Outcome, run_trial, run_trial_as
from throughtime.trials.trial import Trial
from throughtime.trials.versions import difference, versions_here

_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_OF_A_TERMINAL = {signal.SIGINT, signal.SIGHUP}  # sent to all of its processes at once
_CONNECT = 5.0  # seconds to reach the scheduler
_ORPHAN = 1.0  # seconds until a process sees that its study is gone
_APPEAR = 10.0  # seconds for a first worker to be there


class ClusterError(ThroughtimeError, ConnectionError):
    """A Dask cluster that cannot be reached, or cannot do the work."""

    exit_code = 3


class LostWorkerError(ThroughtimeError, RuntimeError):
    """The process that ran a trial was killed."""

    exit_code = 3


class Workers(Protocol):
    """Processes that run trials, one each at a time."""

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        """Have ``run_trial`` called, now or when a process is free; ``stop`` names a file."""

    def outcome(self, future: Future[Outcome]) -> Outcome:
        """What came of it.

        Raises:
            LostWorkerError: its process was killed: submit it again.
            ClusterError: the whole cluster is lost.
        """


class Processes(Workers):
    """Processes of this machine, each on one thread."""

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise InputError(f"jobs is {jobs}: give at least 1")
        self._jobs = jobs
        self._pool = self._new_pool()

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        try:
            return self._submit(trial, folder, stop)
        except BrokenProcessPool:  # a killed process takes its whole pool with it
            self.close()
            self._pool = self._new_pool()
            return self._submit(trial, folder, stop)

    def outcome(self, future: Future[Outcome]) -> Outcome:
        try:
            return future.result()
        except BrokenProcessPool:
            raise LostWorkerError("its process was killed (out of memory?)") from None

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._pool.shutdown(kill_workers=True)

    def _submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        with _deaf_to_the_terminal():  # processes start here, and inherit it
            future: Future[Outcome] = self._pool.submit(run_trial, trial, folder, stop)
        return future

    def _new_pool(self) -> Any:
        with _quiet_tracker(), _deaf_to_the_terminal():
            return ProcessPoolExecutor(
                self._jobs, initializer=_belong_to, initargs=(os.getpid(),), env=_ONE_THREAD
            )


class Cluster(Workers):
    """The workers of a Dask cluster, which see the study's directory under the same path."""

    def __init__(self, client: Any, distributed: ModuleType) -> None:
        self._lost = distributed.scheduler.KilledWorker
        self._executor: Executor = client.get_executor(pure=False)

    def submit(self, trial: Trial, folder: str, stop: str) -> Future[Outcome]:
        return self._executor.submit(run_trial_as, versions_here(), trial, folder, stop)

    def outcome(self, future: Future[Outcome]) -> Outcome:
        if future.cancelled():
            raise ClusterError("the Dask scheduler is gone: start it, and the same command goes on")
        try:
            return future.result()
        except self._lost:
            return Outcome("failed", "every worker that ran it was lost (out of memory?)")


@contextmanager
def _quiet_tracker() -> Iterator[None]:
    """A resource tracker (a process of joblib's own) that starts inside the block warns of nothing.

    Interrupted with the rest of its group, it would tell of semaphores that it clears away itself.
    """
    before = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = quiet if not before else f"{before},{quiet}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def processes(jobs: int) -> Iterator[Processes]:
    """So many processes of this machine, gone after the block."""
    pool = Processes(jobs)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def cluster(address: str, folder: Path) -> Iterator[Cluster]:
    """The cluster of a scheduler at ``address`` (``tcp://host:port``).

    Raises:
        MissingExtraError: ``distributed`` is not installed.
        InputError: this is no address.
        ClusterError: nothing answers there, or its workers cannot do the work.
    """
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            f"{plain(repr(address))} is no address of a Dask scheduler: give tcp://HOST:PORT"
        )
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise MissingExtraError("distributed") from None
    with _quiet(), _connected(distributed, address) as client:
        _check_workers(client, address, folder)
        yield Cluster(client, distributed)


@contextmanager
def _connected(distributed: ModuleType, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except OSError:  # a refused connection, a name that is not known, a time-out
        raise ClusterError(
            f"no Dask scheduler answers at {plain(address)}: start one, or check the address"
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=2)


def _check_workers(client: Any, address: str, folder: Path) -> None:
    """Refuse a cluster that could not do the work, before any of it is lost."""
    try:
        client.wait_for_workers(1, timeout=_APPEAR)
    except TimeoutError:
        raise ClusterError(
            f"the cluster has no worker: start one with  dask worker {plain(address)} --nthreads 1"
        ) from None
    token = secrets.token_hex(8)
    sign = write_atomically(folder / f"workers-{token}", token)
    try:
        seen = client.run(_reads, str(sign))
        versions = client.run(versions_here)
    except Exception as error:
        raise ClusterError(
            f"the workers cannot run throughtime: {plain(error)}: install it there as well"
        ) from error
    finally:
        sign.unlink(missing_ok=True)
    for worker, found in seen.items():
        if differs := difference(worker, versions.get(worker)):
            raise ClusterError(differs)
        if found != token:
            raise ClusterError(
                f"the worker {plain(worker)} does not see {plain(folder)}: choose a directory on "
                "a file system that all workers share"
            )


def _reads(path: str) -> str:
    """What stands in a file, as a worker sees it."""
    with suppress(OSError):
        return Path(path).read_text(encoding="ascii")
    return ""


@contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """Inside the block Ctrl-C and a hang-up wait; for a process that starts there, until it runs.

    Half a minute of imports would otherwise end in a traceback from each of them. Python's resource
    tracker unblocks Ctrl-C when it starts, so it has to run before the block.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _belong_to(parent: int) -> None:
    """Ctrl-C reaches every process of a terminal; the study alone decides what it means.

    And a process whose study was killed ends as well, at any moment: run directories bear it. The
    number of the parent comes from itself: asked for here, it may be that of another by now.
    """
    guard_exits()
    for number in _OF_A_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_A_TERMINAL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_ORPHAN)
    end_now(1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's own log of lost connections: what matters is told in an error."""
    known = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    before = {name: logging.getLogger(name).level for name in known}
    for name in known:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
