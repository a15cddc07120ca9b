"""What the commands of models have in common. `workers.core.command_line` is the same behind the wall."""

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
PATH: Final = click.Path(path_type=Path)
DEVICE: Final = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
THREADS: Final = click.option("--threads", type=int, default=0, help="CPU threads; torch's own default if 0")


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


def fail(error: Exception, status: int = 2) -> int:
    """Tell an error as one line on standard error, with its code if it has one, and return the exit status."""
    code = getattr(error, "code", None)  # numbers are of others, such as the status of an HTTP error
    sys.stderr.write(f"error: {code}: {error}\n" if isinstance(code, str) else f"error: {error}\n")
    return status


class ManyValues(click.Command):
    """A command whose repeatable options take several values at once: `--images a b` is `--images a --images b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the names, then parse."""
        many = {name for each in self.params if each.multiple for name in each.opts}
        return super().parse_args(ctx, list(_repeat_names(args, many)))


def _repeat_names(line: Sequence[str], many: Collection[str]) -> Iterator[str]:
    """Put the name of the option before each of its values but the first; what begins with a dash ends the values."""
    option, before = "", ""
    for word in line:
        if word.startswith("-"):
            option = word if word in many else ""
        elif option and before != option:
            yield option
        yield word
        before = word
