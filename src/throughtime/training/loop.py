"""``train``: one loop for every problem."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from throughtime.attributes import Attributes, restore_attributes
from throughtime.carried import moved
from throughtime.errors import DivergedError, InputError, counted, plain
from throughtime.problem import Batch, Clipper, MakeOptimizer, Problem, check_problem
from throughtime.randomness import randomness
from throughtime.training import checkpoint
from throughtime.training.looking import Gauge, evaluate
from throughtime.training.plan import OnStep, Own, Plan, Run
from throughtime.training.processes import Processes
from throughtime.training.progress import Show, shown
from throughtime.training.recording import (
    Recording,
    begin,
    opened,
    record,
    restored,
    understood,
)
from throughtime.training.result import Status, Training
from throughtime.training.schedules import Schedule
from throughtime.training.signals import Interruption
from throughtime.training.stopping import Stop
from throughtime.training.update import Updater

_GO_ON, _DONE, _SOLVED, _STOPPED, _INTERRUPTED = range(5)
_STATUS: tuple[Status, ...] = ("running", "done", "solved", "stopped", "stopped")


def train(
    problem: Problem,
    steps: int,
    *,
    seed: int = 0,
    optimizer: MakeOptimizer | None = None,
    lr: float | None = None,
    schedule: str | Schedule | None = None,
    clip: float | Clipper | Own | None = "own",
    window: int | Own | None = "own",
    measure_every: int = 0,
    span: int | None = None,
    evaluate_every: int = 0,
    stop: Stop = None,
    run: Run = None,
    resume: bool = False,
    checkpoint_every: int = 100,
    settings: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    progress: bool = False,
) -> Training:
    """Train ``problem.model`` in place.

    The result depends on ``seed`` alone, and the global random state is as before: measuring,
    evaluating, recording and resuming change no bit of the losses (on a CPU).

    Args:
        problem: what to train.
        steps: updates in all, those of earlier sittings included.
        seed: of the batches, and of dropout where the model has any.
        optimizer: makes the optimiser from the parameters; None for the problem's.
        lr: learning rate, where it is not the optimiser's own.
        schedule: factor on it: one of ``SCHEDULES``, or a function of the updates made before.
        clip: a longer gradient, of all parameters together, is scaled down to it; or an object that
            bounds gradients; None for never; "own" as the problem says.
        window: truncated backpropagation: batches are cut into pieces of so many time steps; None
            for none; "own" as the problem says.
        measure_every: updates between two looks at how far back the gradient reaches; 0: never.
        span: how many steps back the task needs to see, where it is not the problem's.
        evaluate_every: updates between two evaluations; the last update is always followed by one.
        stop: "solved", or a function of the ``Training`` so far (``Plateau``): True ends it early.
        run: directory for settings, journal and checkpoints; signals wait for a last checkpoint.
        resume: go on from the last checkpoint in ``run``, if there is one.
        checkpoint_every: updates between two checkpoints.
        settings: what else made the problem, in plain values; a resumed training must repeat it.
        on_step: called with the number of each update, from 1, and its loss; True ends it early.
        progress: show a progress bar on standard error.

    Raises:
        DivergedError: loss or gradient is nan or infinite; the parameters are the last finite ones.
        InputError: an argument is out of range, or asks for what the problem has not got.
        RunError, StorageError: ``run`` cannot be used, or was begun with other settings.
    """
    told = {name: value for name, value in locals().items() if name != "problem"}
    check_problem("train", problem)
    return Loop(problem, Plan(**told)).run()


class Loop:
    """One sitting of a training. With several processes every one runs it, in step."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        plan = plan.settled(problem)
        self._problem, self._plan = problem, plan
        self._processes = Processes()
        self._updater = Updater(problem, plan, self._processes)
        self._gauge = Gauge(problem, plan.span)
        self._so_far = Training()
        self._recording = Recording(None)
        self._interruption = Interruption(listening=plan.run is not None)
        self._attributes = Attributes(problem.model)
        self._batch: Batch = None  # the last one

    def run(self) -> Training:
        """Train, and return what came of it."""
        model, seed = self._problem.model, self._plan.seed
        training = model.training
        model.train()
        try:
            with randomness(seed, model), ExitStack() as stack:
                batches = iter(self._problem.batches(seed))
                self._begin(stack, batches)
                with self._interruption, self._shown() as show:
                    self._go_on(batches, show)
        finally:
            model.train(training)
        self._interruption.hand_on()
        return self._so_far

    def _begin(self, stack: ExitStack, batches: Iterator[Batch]) -> None:
        """Open the run directory, and go to where its last checkpoint was made."""
        plan, updater, processes = self._plan, self._updater, self._processes
        settings = plan.describe(self._problem, updater.optimizer, processes.world)

        def find() -> tuple[dict[str, Any], Training] | None:
            directory = stack.enter_context(opened(plan, settings))
            if directory is None:
                return None
            found = restored(directory)
            begin(directory, plan, settings)
            self._recording = Recording(directory)
            return found

        found = processes.told_by_first(find)
        if found is not None:
            state, self._so_far = found
            steps = self._so_far.steps
            with understood(f"{plain(plan.run)}: its checkpoint of step {steps}"):
                checkpoint.scatter(state, steps, self._problem, updater, batches)
                mine = state["carried"][processes.rank]
                updater.carried = moved(mine, updater.parameters[0].device)
                restore_attributes(self._problem.model, state["attributes"][processes.rank])
        processes.same([*self._problem.model.parameters(), *self._problem.model.buffers()])

    def _shown(self) -> AbstractContextManager[Show]:
        wanted = self._plan.progress and self._processes.first
        return shown(self._problem.name, self._plan.steps, wanted=wanted)

    def _go_on(self, batches: Iterator[Batch], show: Show) -> None:
        so_far, plan = self._so_far, self._plan
        so_far.status = "running"
        began = time.perf_counter() - so_far.seconds
        decision = self._rule() if so_far.steps else _GO_ON
        try:
            while decision == _GO_ON and so_far.steps < plan.steps:
                decision = self._step(batches)
                so_far.seconds = time.perf_counter() - began
                if decision == _GO_ON and so_far.steps % plan.checkpoint_every == 0:
                    self._save(batches)
                show(so_far)
            if decision != _INTERRUPTED:
                self._last_look()
            so_far.status = _STATUS[decision or _DONE]
        except DivergedError as error:
            so_far.status, error.training = "diverged", so_far
            self._recording.update(status="diverged")
            raise
        so_far.seconds = time.perf_counter() - began
        self._save(batches)
        self._recording.update(status=so_far.status)
        so_far.unrecorded = self._recording.ended
        show(so_far)

    def _step(self, batches: Iterator[Batch]) -> int:
        """Make one update, look at the model where it is time to, and decide how to go on."""
        so_far, plan = self._so_far, self._plan
        try:
            self._batch = next(batches)
        except StopIteration:
            raise InputError(
                f"{self._problem.name}: its batches ended after "
                f"{counted(so_far.steps, 'update')}: a Problem gives batches without end"
            ) from None
        if so_far.steps == 0 and plan.measure_every:
            self._measure()
        step = so_far.steps + 1
        loss, norm, clipped = self._updater(step, self._batch)
        so_far.losses.append(loss)
        so_far.norms.append(norm)
        so_far.clipped_steps += clipped
        if plan.measure_every and step % plan.measure_every == 0:
            self._measure()
        if plan.evaluate_every and step % plan.evaluate_every == 0:
            self._evaluate()
        self._record()
        return self._processes.agree(self._decide(step, loss))

    def _decide(self, step: int, loss: float) -> int:
        """What the first process would do next."""
        if not self._processes.first:
            return _GO_ON
        asked = self._plan.on_step is not None and self._plan.on_step(step, loss) is True
        if self._interruption.number:
            return _INTERRUPTED
        return _STOPPED if asked else self._rule()

    def _rule(self) -> int:
        """What ``stop`` says of the training so far."""
        stop, so_far = self._plan.stop, self._so_far
        if callable(stop):
            return _STOPPED if stop(so_far) else _GO_ON
        return _SOLVED if stop == "solved" and so_far.solved_at is not None else _GO_ON

    def _measure(self) -> None:
        so_far = self._so_far
        reach = self._processes.told_by_first(lambda: self._gauge(so_far.steps, self._batch))
        if reach is not None:
            so_far.horizons.append(reach)
            if so_far.steps == 0:
                self._record()

    def _evaluate(self) -> None:
        so_far, solved = self._so_far, self._problem.solved
        scores = self._processes.told_by_first(lambda: evaluate(self._problem))
        if not math.isfinite(scores.get("loss", 0.0)):
            raise DivergedError(
                f"{self._problem.name}: after step {so_far.steps} the held-out loss is "
                f"{scores['loss']}: try a smaller learning rate"
            )
        so_far.evaluations.append((so_far.steps, scores))
        if so_far.solved_at is None and solved is not None and solved.met(scores):
            so_far.solved_at = so_far.steps

    def _last_look(self) -> None:
        """What the last update left, unless it was looked at just now."""
        so_far, plan = self._so_far, self._plan
        measured = so_far.horizons and so_far.horizons[-1].step == so_far.steps
        evaluated = so_far.evaluations and so_far.evaluations[-1][0] == so_far.steps
        measuring = plan.measure_every and self._batch is not None and not measured
        evaluating = self._problem.evaluate is not None and not evaluated
        if measuring:
            self._measure()
        if evaluating:
            self._evaluate()
        if measuring or evaluating:
            self._record()

    def _record(self) -> None:
        self._recording.append(record(self._so_far))

    def _save(self, batches: Iterator[Batch]) -> None:
        if self._plan.run is None:
            return
        mine = (self._updater.carried, self._attributes.changed())
        carried, attributes = zip(*self._processes.all_of(mine), strict=True)
        if self._recording.on:
            state = checkpoint.gather(self._updater, batches, self._so_far, self._plan.seed)
            state |= {"carried": list(carried), "attributes": list(attributes)}
            self._recording.save(state, self._so_far.steps)
