"""Commands of models: their status, their options of several values, and what they refuse."""

import subprocess
import sys
from email.message import Message
from urllib.error import HTTPError

import click
import pytest

from models.checkpoint import CheckpointError
from models.command_line import CONTEXT, ManyValues, fail, run


@click.command(cls=ManyValues, context_settings=CONTEXT)
@click.argument("sources", nargs=-1, help="folders, in order")
@click.option("--images", multiple=True)
@click.option("--limit", type=int, default=8)
def listed(sources: tuple[str, ...], images: tuple[str, ...], limit: int) -> int:
    """List."""
    if limit < 0:
        raise KeyboardInterrupt
    sys.stdout.write(f"{sources} {images}")
    return limit


@pytest.mark.parametrize("status", [0, 1, 7])
def test_the_status_is_what_the_function_returns(status: int) -> None:
    assert run(listed, "list", ["--limit", str(status)]) == status


@pytest.mark.parametrize(
    ("line", "sources", "images"),
    [
        ("--images a", [], ["a"]),
        ("--images a b c", [], ["a", "b", "c"]),
        ("x y --images a b --limit 0", ["x", "y"], ["a", "b"]),
        ("--images a b --limit 0 x", ["x"], ["a", "b"]),
        ("--images a a --limit 0", [], ["a", "a"]),
        ("--images a b --images c", [], ["a", "b", "c"]),
        ("--images a b -- x y", ["x", "y"], ["a", "b"]),
        ("--images=a x", ["x"], ["a"]),
        ("--limit 0 x y", ["x", "y"], []),
    ],
)
def test_an_option_takes_several_values_at_once(
    line: str, sources: list[str], images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(listed, "list", line.split())
    assert capsys.readouterr().out == f"{tuple(sources)} {tuple(images)}"


@pytest.mark.parametrize("line", [["--images"], ["--limit", "many"], ["--fast"]])
def test_a_wrong_command_line_is_told_and_gives_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(listed, "ldiffusion list", line) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_is_asked_for_in_both_ways(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(listed, "list", [asked]) == 0
    assert "folders, in order" in capsys.readouterr().out


def test_an_interrupt_is_left_to_the_caller() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(listed, "list", ["--limit", "-1"])


def test_an_error_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(ValueError("no such thing")) == 2
    assert fail(FloatingPointError("the loss is nan"), status=1) == 1
    assert capsys.readouterr().err == "error: no such thing\nerror: the loss is nan\n"


def test_an_error_that_has_a_code_is_told_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(CheckpointError("x has no config.json")) == 2
    assert fail(HTTPError("http://x", 404, "gone", Message(), None)) == 2  # a status is no code of ours
    assert capsys.readouterr().err == "error: model_invalid: x has no config.json\nerror: HTTP Error 404: gone\n"


@pytest.mark.process
@pytest.mark.parametrize("module", ["datasets", "study"])
def test_a_command_without_its_verb_gives_2(module: str) -> None:
    line = [sys.executable, "-m", f"models.training.{module}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "Error: Missing command."
