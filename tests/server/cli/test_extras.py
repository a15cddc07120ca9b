"""What a command says whose packages are not installed."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import extras
from server.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
NAMED = ["base>=1", "fine>=1; extra == 'server'", 'lost[all]>=2,<3 ; extra == "worker"', "other; extra == 'workers'"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with extras, of which `fine` alone is installed."""

    def found(name: str) -> None:
        if name != "fine":
            raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", lambda name: NAMED if name == "ldiffusion-server" else [])
    monkeypatch.setattr(extras, "distribution", found)


@pytest.mark.usefixtures("installed")
def test_only_what_an_extra_names_and_is_not_there_is_told() -> None:
    extras.need("serve", "server")
    extras.need("serve", "train")
    with pytest.raises(extras.ExtraMissing) as caught:
        extras.need("serve", "server", "worker")
    assert caught.value.message == "`ldiffusion serve` needs lost, which is not installed."
    assert caught.value.accepted == "pip install 'ldiffusion-server[worker]'"


@pytest.mark.usefixtures("installed")
def test_it_is_one_line_and_status_2() -> None:
    for line in (["segment", "slide.svs"], ["models", "verify", "nuclei-paper"], ["serve", "--workers", "1"]):
        ended = CliRunner().invoke(main, line)
        assert ended.exit_code == 2
        assert ended.stderr.startswith("error: extra_missing: `ldiffusion ")
        assert ended.stderr.count("\n") == 1


def test_a_checkout_that_is_not_installed_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", unknown)
    extras.need("segment", "worker")


def test_the_extras_that_commands_name_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"].keys() == {"server", "postgres", "worker", "client", "train", "dev"}
    assert project["name"] == extras.DISTRIBUTION
