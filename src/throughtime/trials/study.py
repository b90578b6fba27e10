"""A study: trials in one directory, each carried out once, by processes here or a Dask cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from joblib import cpu_count

from throughtime.errors import InputError, RunError, StorageError, plain
from throughtime.files import read_plainly, refuse_special, sweep_spares, write_atomically
from throughtime.runs.lock import one_at_a_time
from throughtime.runs.plain_json import from_json, to_json
from throughtime.trials import workers
from throughtime.trials.engine import work_through
from throughtime.trials.one import Outcome
from throughtime.trials.progress import shown
from throughtime.trials.trial import Trial

SCHEMA = 2


def carry_out(
    trials: Sequence[Trial],
    folder: Path,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: bool = False,
) -> dict[Trial, Outcome]:
    """Run every trial that is not finished in ``folder``; returns how each of those was left.

    Args:
        trials: in this order.
        folder: the study's directory, ``prepared``.
        jobs: processes on this machine; None for one on each core.
        cluster: address of a Dask scheduler, instead of processes here.
        progress: show it on standard error.

    Raises:
        InputError: ``jobs`` or ``cluster`` is out of range.
        MissingExtraError, ClusterError: there is no such cluster.
    """
    with (
        _workers(folder, jobs, cluster) as work,
        shown(trials, folder, wanted=progress) as tell,
    ):
        return work_through(trials, folder, work, tell)


def prepared(folder: Path, sign: str, what: str, results: Sequence[str] = ()) -> Path:
    """The directory, with the sign of its kind of study in it: what is in another one is not ours.

    Args:
        folder: new, or that of an earlier study of this kind.
        sign: the name of the file that tells.
        what: a directory of this kind holds: ``"a sweep"``.
        results: what will be written there in the end.

    Raises:
        InputError: something that is not a plain file lies where a result goes.
        RunError: it holds something else, was written by a newer version, or cannot be written.
        StorageError: the disk is full.
    """
    name = plain(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder):
            if not (folder / sign).exists():
                sweep_spares(folder)
                if any(folder.iterdir()):
                    raise RunError(f"{name} holds other files: name a new directory")
                write_atomically(folder / sign, to_json({"schema": SCHEMA}, sign) + "\n")
    except StorageError:
        raise
    except OSError as error:
        reason = plain(error.strerror)
        raise RunError(f"{name} cannot hold {what} ({reason}): name another directory") from error
    schema = None
    with suppress(OSError, ValueError, InputError):
        schema = from_json(read_plainly(folder / sign)).get("schema")
    if schema != SCHEMA:
        raise RunError(
            f"{plain(folder / sign)} has schema {plain(repr(schema))}, and this version of "
            f"throughtime knows {SCHEMA}: name another directory"
        )
    for name in results:
        refuse_special(folder / name)
    return folder


def _workers(
    folder: Path, jobs: int | None, cluster: str | None
) -> AbstractContextManager[workers.Workers]:
    if cluster is None:
        return workers.processes(cpu_count() if jobs is None else jobs)
    if jobs is not None:
        raise InputError("give jobs or a cluster, not both: a cluster has its own workers")
    return workers.cluster(cluster, folder)
