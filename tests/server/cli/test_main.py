"""The command line: what it says, what it becomes, how it fails."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from server.cli.main import main
from server.process.children import module_command, module_environment
from workers.core.settings import Settings

COMMANDS = [
    "audit",
    "batches",
    "corrections",
    "crops",
    "data",
    "demo",
    "doctor",
    "evaluate",
    "figures",
    "keys",
    "models",
    "segment",
    "serve",
    "study",
    "submit",
    "system",
    "train",
    "usage",
    "validate",
    "worker",
]


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
        ("crops", "workers.crops"),
        ("validate", "workers.validate"),
        ("train", "models.training"),
        ("evaluate", "models.training.evaluation.evaluate"),
        ("data", "models.training.datasets"),
        ("study", "models.training.study"),
        ("figures", "models.training.figures"),
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


@pytest.mark.process
def test_our_modules_win_over_folders_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "__init__.py").write_text("raise SystemExit(9)")
    command = module_command("server.intake.probe", "{}")
    ended = subprocess.run(command, cwd=tmp_path, env=module_environment(), stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1  # the real module, which misses its arguments
    assert b"serve_confined" in ended.stderr


def test_settings_reach_a_child_through_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, port=0, workers=3, retention_days=1.5, upload_idle_s=1.5, device="cpu")
    for name, value in module_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_models_are_listed_and_shown(gateway_settings: Settings) -> None:
    environment = {"LDIFFUSION_MODELS_DIR": str(gateway_settings.models_dir)}
    listed = CliRunner().invoke(main, ["models", "list"], env=environment)
    assert listed.output.split()[:4] == ["made-model", "0.5", "µm/px", "2"]
    shown = CliRunner().invoke(main, ["models", "show", "made-model"], env=environment)
    assert json.loads(shown.output)["classes"][1]["name"] == "nucleus"


@pytest.mark.parametrize("by_path", [False, True], ids=["name", "path"])
def test_a_model_is_checked_by_name_or_path(
    monkeypatch: pytest.MonkeyPatch, gateway_settings: Settings, *, by_path: bool
) -> None:
    became: list[Any] = []
    monkeypatch.setattr("os.execve", lambda *call: became.append(call[1]))
    monkeypatch.setenv("LDIFFUSION_MODELS_DIR", str(gateway_settings.models_dir))
    folder = str(gateway_settings.models_dir / "made-model")
    given = folder if by_path else "made-model"
    assert CliRunner().invoke(main, ["models", "verify", given]).exit_code == 0
    assert CliRunner().invoke(main, ["models", "add", folder, "--replace"]).exit_code == 0
    assert became[0][-3:] == ["models.install", "verify", folder]
    installed = ["--models-dir", str(gateway_settings.models_dir), "--replace"]
    assert became[1][-6:] == ["models.install", "add", folder, *installed]


def test_a_folder_whose_card_is_broken_is_not_even_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.execve", lambda *_call: pytest.fail("a process was started"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    result = CliRunner().invoke(main, ["models", "add", str(tmp_path / "theirs")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: model_invalid: ")


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
