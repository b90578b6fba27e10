"""The command line: one command is one call of the library.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from throughtime.cli import looking, prescribing, reproducing, sweeping, training, treating  # noqa: F401  — they register their commands
from throughtime.cli.app import app
from throughtime.cli.process import main

__all__ = ["app", "main"]
