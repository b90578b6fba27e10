"""``python -m benchmarks.models.loops``: what is seen of each row, and whether it is verified."""

from __future__ import annotations

import torch

import throughtime as tt
from benchmarks.models.loops import rows


def main() -> None:
    """Print one line a row."""
    for package, name, build in rows():
        torch.manual_seed(0)
        try:
            model, closure = build()
        except ImportError as error:  # a package that another one breaks
            print(f"{package}: {name}: cannot be built ({error})")
            continue
        try:
            found = tt.diagnose(model, closure)
        except tt.ThroughtimeError as error:
            print(f"{package}: {name}: not seen ({str(error)[:60]})")
            continue
        layers = ", ".join(
            f"{one.name} ({one.kind}, horizon {one.horizon} of {one.span}, "
            f"{'checked' if one.checked_by else 'not checked'})"
            for one in found.layers
        )
        print(f"{package}: {name}: {layers}", flush=True)


if __name__ == "__main__":
    main()
