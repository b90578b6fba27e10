"""Files as a user of the command line writes them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A model of three features, and the pieces that the files below are made of.
PREAMBLE = """
import torch
from torch import nn

torch.manual_seed(0)

def made(T=12, B=4, kind=nn.LSTM, name="rnn"):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, kind(3, 8))

        def forward(self, x):
            return next(self.children())(x)[0].square().mean()

    return Net(), torch.randn(T, B, 3)
"""
BUILD = """
def build():
    model, x = made({})
    return model, lambda: model(x)
"""


def model(arguments: str = "") -> str:
    """A file whose ``build()`` returns a model and its closure; ``made()`` takes the arguments."""
    return PREAMBLE + BUILD.format(arguments)


def closure(body: str) -> str:
    """A file whose ``build()`` returns a closure with this body, indented by four."""
    head = "\ndef build():\n    model, x = made()\n    def closure():\n"
    return f"{PREAMBLE}{head}{' ' * 8}{body}\n    return model, closure\n"


@contextmanager
def leaving_no_trace(folder: Path) -> Iterator[None]:
    """Forget what was imported from ``folder``, and the paths that were added for it."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
