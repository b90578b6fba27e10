"""What a user's function returned, in words, and what to return instead."""

from __future__ import annotations

from typing import Any

from torch import nn

EXAMPLE = "return model, lambda: criterion(model(x), y)"


def described(made: Any) -> str:
    """What it is, as the end of a sentence."""
    if isinstance(made, tuple):
        return "(" + ", ".join(type(item).__name__ for item in made) + ")"
    if isinstance(made, type):
        return f"the class {made.__name__} itself, not an instance"
    return "None" if made is None else f"something of type {type(made).__name__}"


def advice(made: Any) -> str:
    """What to return instead of a few things that are often returned."""
    kinds = {kind.__name__ for kind in type(made).__mro__}
    if made is None:
        return f": is a return missing? End it with  {EXAMPLE}"
    if "LightningModule" in kinds:
        loss = "return model, lambda: model.training_step(batch, 0)"
        return f", a LightningModule: give its loss on a batch as well:  {loss}"
    if isinstance(made, nn.Module):
        return f": say how its loss is computed as well:  {EXAMPLE}"
    if kinds & {"DataLoader", "Dataset"}:
        return f": take one batch (x, y) of it, and the model:  {EXAMPLE}"
    if isinstance(made, tuple) and len(made) == 2:
        if isinstance(made[1], nn.Module) and callable(made[0]):
            return ": the model comes first"
        if isinstance(made[0], nn.Module):
            return f": the second must be a function:  {EXAMPLE}"
    return ""
