"""The head of every answer: how long, how many, the loss, what it reads, and the size of things."""

from __future__ import annotations

import math
from collections.abc import Sequence

from throughtime.diagnosis import reads
from throughtime.diagnosis.reads import Reads
from throughtime.diagnosis.words import Said
from throughtime.trace import Facts, ParameterFact, Trace

_RANGES = 4  # runs of steps that are named, of a loss that reads here and there


def of(trace: Trace) -> dict[str, object]:
    """What goes into ``Diagnosis.run``: plain values, and a few lines for a person."""
    facts, top = trace.facts, reads.of_the_loss(trace)
    run: dict[str, object] = {}
    lines = []
    if facts.losses:
        loss = sum(facts.losses) / len(facts.losses)
        run["loss"] = math.nan if math.isnan(loss) else loss  # one NaN for all compares equal
    if top is not None:
        run["reads"] = {
            "layer": top.module,
            "sequences": len(top.sequences),
            "of": top.batch,
            "steps": _steps(top),
            "backward_passes": len(facts.losses),
        }
        lines.append(_first(top, facts, len(trace)))
    sizes = _sizes(trace)
    if sizes:
        run["sizes"] = sizes
        lines.append(_second(sizes, run.get("loss")))
    run["head"] = {
        "english": tuple(line.english for line in lines),
        "korean": tuple(line.korean for line in lines),
    }
    return run


def notes(trace: Trace) -> list[str]:
    """What a reader may know of the parameters, with which nothing is wrong."""
    facts, told = trace.facts, []
    recurrent = {module.name for module in facts.modules if module.recurrent}
    frozen = [p for p in facts.parameters if not p.requires_grad and p.module not in recurrent]
    if frozen:
        told.append(f"frozen: {_named(frozen)}")
    changed = [p for p in facts.parameters if p.changed == "written" and not p.requires_grad]
    if changed:
        told.append(f"the forward pass writes into {_named(changed)}, which is frozen")
    if facts.parameters and not facts.swept:
        told.append(
            "no backward() filled .grad (torch.autograd.grad, or inputs=): nothing is said about "
            "the gradients of parameters"
        )
    return told


def _named(parameters: Sequence[ParameterFact]) -> str:
    """``14 parameters of 'encoder', 'head'``: the outermost modules, three at most."""
    modules = list(dict.fromkeys(p.module.partition(".")[0] or p.name for p in parameters))
    shown = ", ".join(map(repr, modules[:3])) + (", …" if len(modules) > 3 else "")
    count = len(parameters)
    return f"{count} parameter{'s' * (count != 1)} of {shown}"


def _steps(top: Reads) -> str:
    """``last``, ``all``, ``none`` or how many of how many, and which."""
    if not top.sequences:
        return "none"
    if top.steps > 1 and top.last:
        return "last"
    if top.whole:
        return "all"
    return f"{len(top.at)} of {top.steps}: {_ranges(top.at)}"


def _ranges(steps: Sequence[int]) -> str:
    """``0-3, 7, 9-12``."""
    runs: list[list[int]] = []
    for step in steps:
        if runs and runs[-1][1] == step - 1:
            runs[-1][1] = step
        else:
            runs.append([step, step])
    named = [f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:_RANGES]]
    return ", ".join([*named, *(["…"] if len(runs) > _RANGES else [])])


def _first(top: Reads, facts: Facts, layers: int) -> Said:
    size = f"{top.steps} step" + "s" * (top.steps != 1)
    loss = _loss(facts)
    where = f" of {top.module!r}" if layers > len(top.layers) else ""
    wo = f" {top.module!r}의" if layers > len(top.layers) else ""
    count, which = len(top.sequences), _steps(top)
    if not count:
        english, korean = f"the loss reads no state{where}", f"손실은{wo} 상태를 읽지 않습니다"
    else:
        everyone = count == top.batch
        who = ("the sequence" if top.batch == 1 else "all sequences") if everyone else (
            f"{count} of {top.batch} sequences"
        )  # fmt: skip  # a sentence, not a tower
        wer = ("시퀀스의" if top.batch == 1 else "모든 시퀀스의") if everyone else (
            f"시퀀스 {top.batch}개 중 {count}개의"
        )  # fmt: skip  # a sentence, not a tower
        at = {"last": "the last step", "all": "all steps"}.get(which) or (
            f"{len(top.at)} of {top.steps} steps ({_ranges(top.at)})"
        )
        am = {"last": "마지막 스텝을", "all": "모든 스텝을"}.get(which) or (
            f"{top.steps}스텝 중 {len(top.at)}스텝({_ranges(top.at)})을"
        )
        english = f"the loss reads {who} at {at}{where}"
        korean = f"손실은{wo} {wer} {am} 읽습니다"
    return Said(
        f"{size}, batch of {top.batch}{loss.english}; {english}.",
        f"{top.steps}스텝, 배치 크기 {top.batch}{loss.korean}. {korean}.",
    )


def _loss(facts: Facts) -> Said:
    if not facts.losses:
        return Said("", "")
    mean, passes = sum(facts.losses) / len(facts.losses), len(facts.losses)
    if passes == 1:
        return Said(f", loss {mean:.4g}", f", 손실 {mean:.4g}")
    return Said(
        f", loss {mean:.4g} (mean of {passes} backward passes)",
        f", 손실 {mean:.4g}(역전파 {passes}회의 평균)",
    )


def _sizes(trace: Trace) -> dict[str, object]:
    """The largest gradient of a parameter, W_hh next to its initial scale, the trivial loss."""
    facts, sizes = trace.facts, dict[str, object]()
    if (trivial := trace.run.get("trivial_loss")) is not None:
        sizes["trivial_loss"] = trivial
    known = [one for one in facts.parameters if one.largest and math.isfinite(one.largest)]
    if known:
        largest = max(known, key=lambda one: one.largest or 0.0)
        sizes["largest_gradient"] = largest.largest
        sizes["largest_gradient_of"] = largest.name
    hidden = {module.name: module.hidden for module in facts.modules if module.recurrent}
    ratios = {
        one.name: one.scale * math.sqrt(3 * hidden[one.module])
        for one in facts.parameters
        if hidden.get(one.module)
        and "weight_hh" in one.name.rpartition(".")[2]
        and math.isfinite(one.scale)
    }
    if ratios:
        sizes["w_hh_over_initial_scale"] = ratios
    return sizes


def _second(sizes: dict[str, object], loss: object) -> Said:
    english, korean = [], []
    trivial = sizes.get("trivial_loss")
    if isinstance(trivial, float) and isinstance(loss, float):
        ratio = loss / trivial if trivial > 0 else math.nan
        if math.isfinite(ratio):
            english.append(f"the loss is {ratio:.2g} × the trivial loss ({trivial:.4g})")
            korean.append(f"손실은 자명한 손실({trivial:.4g})의 {ratio:.2g}배")
    if "largest_gradient" in sizes:
        of, largest = sizes["largest_gradient_of"], sizes["largest_gradient"]
        english.append(f"largest parameter gradient {largest:.2g} ({of})")
        korean.append(f"가장 큰 파라미터 기울기 {largest:.2g}({of})")
    ratios = sizes.get("w_hh_over_initial_scale")
    if isinstance(ratios, dict):
        name = max(ratios, key=lambda one: abs(math.log(max(ratios[one], 1e-30))))
        of = f" ({name})" if len(ratios) > 1 else ""
        english.append(f"W_hh at {ratios[name]:.2g} × PyTorch's initial scale{of}")
        korean.append(f"W_hh의 크기는 PyTorch 초깃값의 {ratios[name]:.2g}배{of}")
    first = "; ".join(english)
    return Said(f"{first[:1].upper()}{first[1:]}.", f"{', '.join(korean)}.")
