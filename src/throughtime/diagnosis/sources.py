"""Where a number that is not finite came from, in words."""

from __future__ import annotations

import torch

from throughtime.diagnosis.words import Said
from throughtime.trace import Source


def told(source: Source) -> Said:
    """What the modules of the model show of it, as a clause."""
    if source.kind == "data":
        return Said(
            "the data given to the model already contain it",
            "모델에 주어진 데이터에 이미 들어 있습니다",
        )
    if source.kind == "parameter":
        where = f" of module {source.module!r}" if source.module else ""
        whose = f"모듈 {source.module!r}의 " if source.module else ""
        return Said(
            f"parameter {source.parameter!r}{where} is not finite",
            f"{whose}파라미터 {source.parameter!r}의 값이 유한하지 않습니다",
        )
    if source.kind == "layer":
        return Said(
            f"layer {source.module!r} makes it", f"층 {source.module!r}이(가) 만들어 냅니다"
        )
    if source.kind == "module":
        return Said(
            f"module {source.module!r} ({source.type}) makes it",
            f"모듈 {source.module!r}({source.type})이(가) 만들어 냅니다",
        )
    where, korean = _between(source)
    if source.kind == "outside":
        return Said(
            f"an operation outside of the model's modules makes it{where}",
            f"모델의 모듈 밖에 있는 연산이{korean} 만들어 냅니다",
        )
    return Said(
        f"an operation in the forward pass of module {source.module!r} ({source.type}) makes "
        f"it{where}",
        f"모듈 {source.module!r}({source.type})의 순전파에 있는 연산이{korean} 만들어 냅니다",
    )


def _between(source: Source) -> Said:
    """Between which modules an operation runs."""
    after, before = source.after, source.before
    if after and before:
        return Said(f", after {after!r} and before {before!r}", f" {after!r}와 {before!r} 사이에서")
    if after:
        return Said(f", after {after!r}", f" {after!r} 다음에")
    return Said(f", before {before!r}", f" {before!r} 앞에서") if before else Said("", "")


def evidence(source: Source | None) -> dict[str, str]:
    """The same for the evidence of a finding; nothing where it is not known."""
    if source is None:
        return {}
    known = {
        "source": source.kind,
        "module": source.module,
        "parameter": source.parameter,
        "after_module": source.after,
        "before_module": source.before,
    }
    return {key: value for key, value in known.items() if value}


def limit(dtype: torch.dtype) -> str:
    """The largest number of a format: ``65,504``, ``3.4e38``."""
    largest = torch.finfo(dtype).max
    return f"{largest:,.0f}" if largest < 1e6 else f"{largest:.1e}".replace("+", "")
