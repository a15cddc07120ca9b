"""A command of ours gives back its status, and ends nothing that is not its own."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from workers.core.command_line import CONTEXT, TellsErrors, error_line, run
from workers.core.errors.base import MppMissing, RequestInvalid


@click.command(context_settings=CONTEXT)
@click.argument("count", type=int, help="how many")
def counted(count: int) -> int:
    """Count."""
    if count < 0:
        raise KeyboardInterrupt
    return count


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_status_is_what_the_function_returns(status: int) -> None:
    assert run(counted, "count", [str(status)]) == status


@pytest.mark.parametrize("line", [[], ["many"], ["1", "2"], ["1", "--fast"]])
def test_a_wrong_command_line_is_told_and_gives_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(counted, "python -m count", line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: python -m count ")
    assert said.err.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_is_asked_for_in_both_ways(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(counted, "count", [asked]) == 0
    assert "how many" in capsys.readouterr().out


def test_an_interrupt_is_left_to_the_caller() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(counted, "count", ["--", "-1"])


@click.command(cls=TellsErrors)
def refused() -> None:
    raise RequestInvalid("The side is too small.", value=0, accepted="256 or more")


class TellingGroup(TellsErrors, click.Group):
    pass


def test_a_domain_error_is_one_line_on_standard_error_and_2() -> None:
    group = TellingGroup(commands={"refused": refused, "same": click.Command("same", callback=refused.callback)})
    for command, line in ((refused, []), (group, ["refused"]), (group, ["same"])):
        done = CliRunner().invoke(command, line)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == "error: invalid_request: The side is too small. Given: 0. Accepted: 256 or more.\n"


@pytest.mark.parametrize(
    ("value", "accepted", "line"),
    [
        (None, None, "mpp_missing: No mpp."),
        ("", None, "mpp_missing: No mpp. Given: ."),
        (0.0, None, "mpp_missing: No mpp. Given: 0.0."),
        (None, "mpp", "mpp_missing: No mpp. Accepted: mpp."),
    ],
)
def test_what_an_error_does_not_know_is_left_out(value: object, accepted: str | None, line: str) -> None:
    assert error_line(MppMissing("No mpp.", value=value, accepted=accepted)) == line


@pytest.mark.process
@pytest.mark.parametrize("module", ["workers", "server.process.gateway"])
def test_processes_of_ours_refuse_what_they_do_not_know(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--speed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "No such option" in done.stderr
