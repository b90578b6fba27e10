"""Partial loss: part of the batch, of the steps or of the inputs never reaches the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from throughtime.diagnosis import reads
from throughtime.diagnosis.mistakes.view import View
from throughtime.diagnosis.reads import Reads
from throughtime.diagnosis.words import Said, finding
from throughtime.findings import Finding
from throughtime.trace import LayerTrace

_FEW = 4  # a batch, or a sequence, of which half is no accident


def find(view: View) -> Iterator[Finding]:
    """Sequences that are not read, steps beyond an end, and states that have read next to nothing.

    Each is told once, of the last module where it shows.
    """
    every = [one for one in reads.of(view.trace) if one.steps > 1 and one.sequences]
    if every:
        yield from _sequences(every[-1])
    past = [one for one in every if one.beyond and not _above_is_reverse(one, every)]
    if past:
        yield _beyond(past[-1])
    for one in every:
        for layer in one.layers:
            yield from _early(one, layer)


def _sequences(top: Reads) -> Iterator[Finding]:
    """Some sequences of the batch have no direct gradient at all."""
    count, batch = len(top.sequences), top.batch
    full = tuple(b for b, end in enumerate(top.ends) if end == top.steps)
    evidence: dict[str, Any] = {"sequences_read": count, "sequences": batch}
    packed = any(layer.packed for layer in top.layers)
    if count < batch and packed and top.sequences == full and top.at == (top.steps - 1,):
        yield finding("partial loss", top.module, _said_packed(top), evidence)
    elif (count == 1 and batch >= _FEW - 1) or (count <= batch / 2 and _at_an_edge(top)):
        yield finding("partial loss", top.module, _said_sequences(top), evidence)


def _at_an_edge(top: Reads) -> bool:
    first, last = top.sequences[0], top.sequences[-1]
    in_a_row = last - first == len(top.sequences) - 1
    return top.batch >= _FEW and in_a_row and (first == 0 or last == top.batch - 1)


def _said_packed(top: Reads) -> Said:
    count, batch = len(top.sequences), top.batch
    return Said(
        f"The loss reads {count} of {batch} sequences: only those of the full {top.steps} steps "
        "have a direct gradient. For a shorter one, the last step of pad_packed_sequence's output "
        "is padding, a constant 0. Use h_n, which holds the state at the end of each sequence, or "
        "gather the output at lengths − 1.",
        f"손실은 시퀀스 {batch}개 중 {count}개만 읽습니다. 길이가 {top.steps}스텝인 시퀀스만 직접 "
        "기울기를 받습니다. 더 짧은 시퀀스의 경우 pad_packed_sequence 출력의 마지막 스텝은 "
        "패딩(상수 0)입니다. 각 시퀀스의 마지막 상태를 담은 h_n을 쓰거나 lengths − 1 위치의 출력을 "
        "모으십시오.",
    )


def _said_sequences(top: Reads) -> Said:
    count, batch = len(top.sequences), top.batch
    first, last = top.sequences[0], top.sequences[-1]
    which = f"sequence {first}" if count == 1 else f"sequences {first} to {last}"
    welche = f"{first}번" if count == 1 else f"{first}번부터 {last}번까지"
    return Said(
        f"The loss reads {count} of {batch} sequences: only {which} of the batch "
        f"{'has' if count == 1 else 'have'} a direct gradient, the others exactly none. If the "
        "loss is meant for the whole batch, check which axis it indexes, and that it is not "
        "computed inside a loop that stops early. A loss that is flat for the others (a margin "
        "that is met, a target that is ignored) looks the same.",
        f"손실은 시퀀스 {batch}개 중 {count}개만 읽습니다. 배치의 {welche} 시퀀스만 직접 기울기를 "
        "받고, 나머지의 직접 기울기는 정확히 0입니다. 손실이 배치 전체에 대한 것이라면 어느 축을 "
        "인덱싱하는지, 손실을 계산하는 반복문이 일찍 끝나지 않는지 확인하십시오. 나머지 "
        "시퀀스에서 손실이 평평한 경우(마진을 이미 만족했거나 타깃이 무시된 경우)에도 같은 "
        "결과가 나옵니다.",
    )


def _above_is_reverse(one: Reads, every: list[Reads]) -> bool:
    """Whether a module further up begins its reverse direction in the padding of this one."""
    above = every[every.index(one) + 1 :]
    return any(layer.reverse and not layer.packed for other in above for layer in other.layers)


def _beyond(top: Reads) -> Finding:
    count, batch = len(top.beyond), top.batch
    inside = reads.before(top.ends, top.steps).to(top.read.device) & top.read
    only = not bool(inside[:, list(top.beyond)].any())
    evidence = {
        "sequences_read_beyond_their_end": count,
        "sequences": batch,
        "steps": top.steps,
        "lengths_given": top.told,
    }
    how = "their lengths say so" if top.told else "their input no longer changes, as in padding"
    wie = (
        "주어진 길이에 따른 판단입니다"
        if top.told
        else "그 구간에서 입력이 패딩처럼 더 이상 변하지 않습니다"
    )
    advice = (
        "Read each sequence at its last step, lengths − 1, or pack the batch with "
        "pack_padded_sequence and use h_n."
        if only
        else "Mask the loss there (ignore_index, or a mask), or pack the batch."
    )
    rat = (
        "각 시퀀스를 마지막 스텝(lengths − 1)에서 읽거나, pack_padded_sequence로 묶고 h_n을 "
        "사용하십시오."
        if only
        else "그 구간의 손실을 마스크(ignore_index 등)로 제외하거나 배치를 packing하십시오."
    )
    more = "" if top.told else " Give lengths= if this is padding."
    mehr = "" if top.told else " 패딩이 맞다면 lengths=를 지정하십시오."
    words = Said(
        f"The loss reads {top.module!r} beyond the end of {count} of {batch} sequences ({how}): "
        f"what it reads there is the state after the padding. {advice}{more}",
        f"손실이 시퀀스 {batch}개 중 {count}개에서 시퀀스가 끝난 뒤의 {top.module!r} 상태를 "
        f"읽습니다({wie}). 그 상태는 패딩까지 읽은 상태입니다. {rat}{mehr}",
    )
    return finding("partial loss", top.module, words, evidence)


def _early(one: Reads, layer: LayerTrace) -> Iterator[Finding]:
    """A direction whose states, where the loss reads them, have seen few of the inputs."""
    seen = [(inputs, end) for inputs, end in one.inputs_read(layer) if end > 1]
    if not seen:
        return
    most, end = max(seen)
    evidence = {"inputs_read": most, "inputs": end, "steps": one.steps}
    if most <= 1:
        yield finding("partial loss", layer.name, _said_one_input(one, layer, end), evidence)
    elif all(end >= _FEW and inputs <= end / 2 for inputs, end in seen) and not _silent(
        layer, most
    ):
        yield finding("partial loss", layer.name, _said_early(layer, most, end), evidence)


def _silent(layer: LayerTrace, most: int) -> bool:
    """Whether the input that is never read stands still, as padding does that a mask leaves out."""
    if layer.reverse or layer.marked:
        return layer.marked
    first = layer.linear.read(most).get("input")
    return first is not None and all(
        bool((layer.linear.read(t)["input"] == first).all()) for t in range(most + 1, layer.steps)
    )


def _said_one_input(one: Reads, layer: LayerTrace, end: int) -> Said:
    if layer.reverse:
        join = "torch.cat([h_n[-2], h_n[-1]], -1)"
        return Said(
            f"The loss reads the reverse direction of {one.module!r} only at the end of the "
            f"sequence, which that direction computes first: there it has read 1 of {end} inputs. "
            f"Use h_n: {join} holds both directions after they have read everything.",
            f"손실은 {one.module!r}의 역방향을 시퀀스의 끝에서만 읽는데, 역방향은 그 스텝을 가장 "
            f"먼저 계산하므로 입력 {end}개 중 1개만 읽은 상태입니다. h_n을 사용하십시오. {join}은 "
            "두 방향이 모두 끝까지 읽은 뒤의 상태입니다.",
        )
    return Said(
        f"The loss reads {layer.name!r} only at the first step, where it has read 1 of {end} "
        "inputs: nothing that follows can reach the loss. Read the last step (out[-1], or "
        "out[:, -1] with batch_first), or h_n.",
        f"손실은 {layer.name!r}을 첫 스텝에서만 읽으므로 입력 {end}개 중 1개만 읽은 상태입니다. 그 "
        "뒤의 입력은 손실에 영향을 주지 못합니다. 마지막 스텝(out[-1], batch_first이면 "
        "out[:, -1])이나 h_n을 읽으십시오.",
    )


def _said_early(layer: LayerTrace, most: int, end: int) -> Said:
    steps = "last" if layer.reverse else "first"
    wo = "마지막" if layer.reverse else "처음"
    return Said(
        f"The loss reads {layer.name!r} only at the {steps} steps of the sequence, where it has "
        f"read at most {most} of {end} inputs: the others cannot reach the loss. Read the state "
        "that has seen the whole sequence (h_n), or check the slice of the output.",
        f"손실은 {layer.name!r}을 시퀀스의 {wo} 스텝들에서만 읽으므로 입력 {end}개 중 많아야 "
        f"{most}개를 읽은 상태입니다. 나머지 입력은 손실에 영향을 주지 못합니다. 시퀀스 전체를 "
        "읽은 상태(h_n)를 사용하거나 출력의 슬라이스를 확인하십시오.",
    )
