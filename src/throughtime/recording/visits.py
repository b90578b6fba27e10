"""Which modules ran while nothing recurrent was recorded, in a sentence that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from throughtime.errors import NothingRecordedError, counted, plain

# A module that is called so often runs in a loop; so many of them are named.
_LOOP, _NAMED = 3, 3

_NOTHING = (
    "no recurrent layer of the model ran: is it this very model that the loss, or the 'with' "
    "block, runs? A recurrence of your own calls throughtime.mark(state, 'name') in every step"
)
_SCRIPT = (
    "the model is a torch.jit script (ScriptModule), whose layers cannot be seen: run with "
    "PYTORCH_JIT=0, or capture the model that it was made from"
)
_SCRIPT_KOREAN = (
    "모델이 torch.jit 스크립트(ScriptModule)여서 안의 층을 볼 수 없습니다. PYTORCH_JIT=0으로 "
    "실행하거나 스크립트로 만들기 전의 모델을 사용하십시오"
)
_ADVICE = (
    "The gain at the inputs needs no recurrence: throughtime.diagnose(model, closure) and "
    "throughtime.measures.reach give it. A recurrence of your own calls throughtime.mark(state, "
    "'name') in every step"
)


@dataclass
class Visit:
    """A module that ran: its path, its class, how often it was called."""

    name: str
    kind: str
    calls: int = 0


@dataclass
class Visits:
    """The modules of a model that ran, in the order of their first calls."""

    by_module: dict[int, Visit] = field(default_factory=dict)

    def note(self, name: str, module: nn.Module) -> None:
        """One more call of a module."""
        known = self.by_module.setdefault(id(module), Visit(name, type(module).__name__))
        known.calls += 1

    def error(self, model: nn.Module, unseen: Sequence[str]) -> NothingRecordedError:
        """That nothing was recorded, and what ran instead."""
        more = "".join(f"; {sentence}" for sentence in unseen)
        if isinstance(model, torch.jit.ScriptModule) or any(
            visit.kind == "RecursiveScriptModule" for visit in self.by_module.values()
        ):
            return NothingRecordedError(f"{_SCRIPT}{more}", _SCRIPT, _SCRIPT_KOREAN)
        if not self.by_module:
            return NothingRecordedError(f"{_NOTHING}{more}")
        seen, korean = self.said()
        return NothingRecordedError(
            f"no recurrence was recorded: {seen}{more}. {_ADVICE}", f"{seen}{more}", korean
        )

    def said(self) -> tuple[str, str]:
        """What ran, in English and in Korean: the outermost modules that were called in a loop."""
        loops: list[Visit] = []
        for visit in self.by_module.values():
            inside = any(visit.name.startswith(f"{other.name}.") for other in loops)
            if visit.calls >= _LOOP and not inside:
                loops.append(visit)
        if not loops:
            first = next(iter(self.by_module.values()))
            times = "once" if first.calls == 1 else counted(first.calls, "time")
            korean = f"{_shown(first)}이(가) {first.calls}번 호출되었고"
            return (
                f"{_shown(first)} was called {times}, and no module of it in a loop",
                f"{korean}, 반복해서 호출된 모듈은 없습니다",
            )
        named = [f"{_shown(one)} was called {counted(one.calls, 'time')}" for one in loops]
        korean_named = [f"{_shown(one)}이(가) {one.calls}번 호출되었습니다" for one in loops]
        rest = len(loops) - _NAMED
        and_more = [f"{counted(rest, 'more module')} in a loop"] if rest > 0 else []
        korean_rest = [f"그 밖에 모듈 {rest}개가 반복해서 호출되었습니다"] if rest > 0 else []
        return (
            ", ".join([*named[:_NAMED], *and_more]),
            ". ".join([*korean_named[:_NAMED], *korean_rest]),
        )


def _shown(visit: Visit) -> str:
    return plain(f"`{visit.name}` ({visit.kind})")
