"""A command of ours gives back its status, and ends nothing that is not its own."""

import subprocess
import sys

import click
import pytest

from workers.core.command_line import CONTEXT, run


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


@pytest.mark.parametrize("module", ["workers", "server.process.gateway"])
def test_processes_of_ours_refuse_what_they_do_not_know(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--speed"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "No such option" in done.stderr
