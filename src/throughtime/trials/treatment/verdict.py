"""The verdict of paired trials: which remedy helped; or that none is shown to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from throughtime.trials.treatment.result import Answer, Arm
from throughtime.trials.treatment.telling import Telling, decisive_of, rank

_ALL_DIVERGED = (
    "None helped: every training diverged, with remedies and without. Look at the data, the loss "
    "function, the read-out and the learning rate."
)


class Verdict(NamedTuple):
    """The answer, the best remedy if one helped, both in a sentence, and what supports it."""

    answer: Answer
    best: str | None
    sentence: str
    evidence: tuple[str, ...] = ()


def judge(
    arms: Sequence[Arm], criterion: str | None, loss_name: str, trivial_loss: float | None = None
) -> Verdict:
    """What the trials show.

    A remedy helped where more seeds end solved, or without a criterion where the loss is lower, and
    the permutation test, corrected for all remedies, calls that more than chance. This one rule
    decides ``best``, and with it the patch and the exit code.

    Args:
        arms: the untreated model first, compared.
        criterion: when a trial counts as solved; None without one.
        loss_name: what the losses are.
        trivial_loss: of the best answer that never looks at its input, where known: no lower loss
            helps that is not below it.
    """
    untreated, tried = arms[0], arms[1:]
    judged = [arm for arm in tried if arm.loss_change is not None]
    if not untreated.is_complete or (tried and not judged):
        return Verdict("unknown", None, f"No answer: {_trouble(arms)}")
    helped = [arm for arm in judged if decisive_of(arm).proven and arm.learned(trivial_loss)]
    told = Telling(untreated, judged, criterion, loss_name)
    if criterion is not None and untreated.solved == len(untreated.ends):
        verdict = Verdict("solved already", None, told.solved_already(), told.sooner())
    elif judged and all(arm.diverged == len(arm.ends) for arm in (untreated, *judged)):
        verdict = Verdict("none", None, _ALL_DIVERGED)
    elif judged and not any(arm.ever_learned(trivial_loss) for arm in (untreated, *judged)):
        assert trivial_loss is not None, "without one every arm has learned"
        verdict = Verdict("neither learned", None, told.neither_learned(trivial_loss))
    elif not helped:
        verdict = Verdict("none", None, told.none(), told.why_none())
    else:
        best = min(helped, key=rank)
        others = [arm for arm in judged if arm is not best]
        verdict = Verdict("helped", best.remedy, told.helped(best), told.proof(best, others))
    missing = () if all(arm.is_complete for arm in tried) else (f"Not judged: {_trouble(arms)}",)
    return verdict._replace(evidence=(*verdict.evidence, *told.harm(), *missing))


def _trouble(arms: Sequence[Arm]) -> str:
    end = next(end for arm in arms for end in arm.ends if not end.has_result)
    arm = next(arm for arm in arms if end in arm.ends)
    who = "the untreated model" if arm is arms[0] else arm.remedy
    why = f"{end.status}: {end.reason}" if end.reason else end.status
    return f"{who}, seed {end.seed}, has no result ({why})."
