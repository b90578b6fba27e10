"""The application that the commands register with, and the options before any command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from throughtime.cli import help  # noqa: A004  — it is the help

_ORDER = (
    "demo", "diagnose", "prescribe", "treat", "train", "sweep", "reproduce", "textbook"
)  # fmt: skip  # a list, not a column


class _InOrder(TyperGroup):
    """The commands as a newcomer wants them, not as their files are imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="throughtime",
    cls=_InOrder,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"throughtime {version('throughtime')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, help=help.ABOUT, epilog=help.EXIT_CODES)
def options(
    context: typer.Context,
    _debug: Annotated[
        bool, typer.Option("--debug", help="On an error show its traceback.")
    ] = False,
    _v: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Without a command, show the help. ``--debug`` is read by ``main``, wherever it stands."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
