"""The command line: what it says, what it becomes, how it fails."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.children import module_command, module_environment
from server.cli import main
from workers.core.settings import Settings

COMMANDS = ["demo", "evaluate", "models", "segment", "serve", "submit", "train", "worker"]


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert sorted(main.commands) == COMMANDS
    assert all(f"\n  {name} " in result.output for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("worker", "workers"),
        ("segment", "workers.segment"),
        ("train", "models.training"),
        ("evaluate", "models.training.evaluate"),
    ],
)
@pytest.mark.parametrize("arguments", [["--help"], ["slide.svs", "-o", "out", "--mpp", "0.5"], []])
def test_heavy_commands_become_the_process_that_does_the_work(
    monkeypatch: pytest.MonkeyPatch, command: str, module: str, arguments: list[str]
) -> None:
    became: list[Any] = []
    monkeypatch.setattr("os.execve", lambda *call: became.append(call))
    result = CliRunner().invoke(main, [command, *arguments])
    assert result.exit_code == 0, result.output
    program, line, environment = became[0]
    assert line == [program, "-P", "-m", module, *arguments]
    assert environment["PATH"] == os.environ["PATH"]


def test_our_modules_win_over_folders_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise SystemExit(9)")
    command = module_command("workers.core.probe", "{}")
    ended = subprocess.run(command, cwd=tmp_path, env=module_environment(), stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1  # the real module, which misses its arguments
    assert b"ProbeLimits" in ended.stderr


def test_settings_reach_a_child_through_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, workers=3, allow_remote=True, upload_idle_s=1.5, device="cpu")
    for name, value in module_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_models_are_listed_and_shown(gateway_settings: Settings) -> None:
    environment = {"LDIFFUSION_MODELS_DIR": str(gateway_settings.models_dir)}
    listed = CliRunner().invoke(main, ["models", "list"], env=environment)
    assert listed.output.split()[:4] == ["made-model", "0.5", "µm/px", "2"]
    shown = CliRunner().invoke(main, ["models", "show", "made-model"], env=environment)
    assert json.loads(shown.output)["classes"][1]["name"] == "nucleus"


def test_a_domain_error_is_one_line_and_status_2(gateway_settings: Settings) -> None:
    environment = {"LDIFFUSION_MODELS_DIR": str(gateway_settings.models_dir)}
    result = CliRunner().invoke(main, ["models", "show", "other"], env=environment)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: model_not_found: No installed model has this name.")
    assert result.stderr.count("\n") == 1


def test_an_unreachable_server_is_one_line_and_status_2(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    slide.write_bytes(b"x")
    line = ["submit", str(slide), "-o", str(tmp_path / "out"), "--url", "http://127.0.0.1:1"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert "error: server_unreachable: " in result.stderr
    assert "ldiffusion serve" in result.stderr
