"""What the commands of server and workers have in common. `models.command_line` is the same behind the wall."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ByteSize, TypeAdapter, ValidationError

from workers.core.errors.base import LDiffusionError
from workers.core.text import printable

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class MemoryOption(click.ParamType[int]):
    """So many bytes, such as 2GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        try:
            found = int(TypeAdapter(ByteSize).validate_python(value))
        except ValidationError:
            found = 0
        if found <= 0:
            self.fail(f"{value!r} is no memory; accepted: a number of bytes, or with a unit: 1GiB, 1500MB", param, ctx)
        return found


class TellsErrors(click.Command):
    """A command that tells a domain error as one line on standard error, `error: code: sentence`, and ends with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LDiffusionError as error:
            click.echo(f"error: {error_line(error)}", err=True)
            ctx.exit(2)


def error_line(error: LDiffusionError) -> str:
    """Return `code: sentence Given: value. Accepted: what would be.`, for a terminal or a log."""
    value = "" if error.value is None else f" Given: {error.value}."
    accepted = f" Accepted: {error.accepted}." if error.accepted else ""
    return printable(f"{error.code}: {error.message}{value}{accepted}")


def run(command: click.Command, prog: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status, which is what its function returns.

    A wrong command line is told on standard error and gives 2. Unlike `click.Command.main` this ends no process and
    leaves signals to who handles them.

    Args:
        command: What is run.
        prog: How people call it, for the help.
        arguments: Those of the process if not given.
    """
    line = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context(prog, line) as context:
            status: int = command.invoke(context)
    except click.exceptions.Exit as end:  # after the help
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status


def require_slides(slides: Sequence[Path], manifest: Path | None) -> None:
    """Check that slides were named, in one way.

    Raises:
        UsageError: None was, or both on the line and in a table.
    """
    if not slides and manifest is None:
        raise click.UsageError("Missing argument 'SLIDE...', or a --manifest.")
    if slides and manifest is not None:
        raise click.UsageError("Slides and a --manifest: one of the two.")
