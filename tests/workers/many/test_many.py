"""Many slides by the command, each run in this process with a colour for a model."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from made_models import write_model_config

from workers import segment
from workers.many import running

Run = Callable[..., Result]


class Ended:
    """A process that is over."""

    def __init__(self, status: int) -> None:
        self.status = status

    def poll(self) -> int:
        return self.status

    def terminate(self) -> None:
        return None

    kill = terminate

    def wait(self, timeout: float | None = None) -> int:
        return self.status


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, colour: ModuleType) -> list[running.Task]:
    """The slides that were run, in order; they run in this process."""
    tasks: list[running.Task] = []

    def start(task: running.Task) -> Ended:
        tasks.append(task)
        done = CliRunner().invoke(segment.main, ["-o", str(task.out), *task.options, "--", str(task.slide)])
        task.out.mkdir(exist_ok=True)
        (task.out / running.LOG).write_text(done.output)
        return Ended(done.exit_code)

    monkeypatch.setattr(running, "start", start)
    monkeypatch.setattr(running, "PAUSE_S", 0)
    monkeypatch.setattr(segment, "Engine", lambda folder, *_: colour.ColourEngine(folder))
    return tasks


@pytest.fixture
def slides(made_slide: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        made_slide(rng.integers(60, 200, (200, 300, 3), np.uint8), f"{name}.tif").rename(folder / f"{name}.tif")
    return folder


@pytest.fixture
def run(started: list[running.Task], model_folder: Path, tmp_path: Path) -> Run:
    def call(*arguments: object) -> Result:
        line = [*arguments, "-o", tmp_path / "out", "--model", model_folder, "--no-tissue"]
        return CliRunner().invoke(segment.main, [str(argument) for argument in line])

    return call


def test_a_folder_is_segmented_once_and_what_fails_is_tried_again(
    run: Run, slides: Path, started: list[running.Task], tmp_path: Path
) -> None:
    (slides / "c.tif").write_text("no slide")
    first = run(slides, "--summary", tmp_path / "x.csv")
    assert first.exit_code == 1, first.output
    assert [line.split()[:2] for line in first.stdout.splitlines()[1:4]] == [
        ["a", "done"], ["b", "done"], ["c", "failed"],
    ]  # fmt: skip
    assert "c: failed: slide_unreadable: " in first.stderr
    assert (tmp_path / "x.csv").read_text().count("\n") == 4
    assert json.loads((tmp_path / "out" / "a" / "result.json").read_bytes())["slide_filename"] == "a.tif"
    (slides / "c.tif").unlink()
    again = run(slides)
    assert again.exit_code == 0
    assert again.stderr.splitlines() == ["a: done before", "b: done before"]
    assert len(started) == 3
    assert run(slides, "--overwrite").exit_code == 0
    assert len(started) == 5


def test_one_slide_goes_into_the_folder_itself_unless_there_is_to_be_a_summary(
    run: Run, slides: Path, started: list[running.Task], tmp_path: Path
) -> None:
    assert run(slides / "a.tif").exit_code == 0
    assert (tmp_path / "out" / "result.json").exists()
    assert started == []
    refused = run(slides)
    assert (refused.exit_code, "holds the results of one slide" in refused.stderr) == (2, True)


def test_what_is_wrong_is_told_before_anything_runs(
    run: Run, slides: Path, started: list[running.Task], tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("path,model\nslides/a.tif,no-such\n")
    for arguments, told in (
        ((slides, tmp_path / "absent.svs"), "error: invalid_request: No such file or folder."),
        (("--manifest", tmp_path / "m.csv"), "error: invalid_request: m.csv, line 2: No installed model"),
        ((slides, "--summary", "x.xlsx"), "error: invalid_request: --summary: "),
        ((slides, "--roi", "0,0,9,9"), "error: invalid_request: --roi is of one slide."),
        ((slides, "--region-px", 300), "error: invalid_request: --region-px: "),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith(told)
        assert result.stderr.count("\n") == 1
    for usage in ((), (slides, "--manifest", tmp_path / "m.csv")):
        assert run(*usage).exit_code == 2
    assert started == []


def test_a_manifest_gives_each_slide_its_model_resolution_and_labels(
    run: Run, slides: Path, started: list[running.Task], tmp_path: Path
) -> None:
    write_model_config(tmp_path / "models" / "other-model")
    other = tmp_path / "models" / "other-model"
    (tmp_path / "m.csv").write_text(f"path,mpp,model,labels\nslides/b.tif,0.4,{other},arm=x\nslides/a.tif,,,\n")
    done = run("--manifest", tmp_path / "m.csv", "--summary", tmp_path / "x.csv")
    assert done.exit_code == 0, done.output
    said = [json.loads((tmp_path / "out" / name / "result.json").read_bytes()) for name in "ab"]
    assert [(each["model"], each["mpp_x"], each["mpp_source"]) for each in said] == [
        ("made-model", 0.5, "metadata"), ("other-model", 0.4, "request"),
    ]  # fmt: skip
    head, first, second = (tmp_path / "x.csv").read_text().splitlines()
    assert head.endswith(",label_arm")
    assert (first[:2], first[-2:], second[:2], second[-1]) == ("b,", ",x", "a,", ",")
    assert run("--manifest", tmp_path / "m.csv").exit_code == 0
    assert len(started) == 2


@pytest.mark.parametrize("option", [("--seed", "1"), ("--mpp", "0.4"), ("--tissue",), ("--on-bad-tile", "mask")])
def test_results_of_another_question_are_no_results(
    run: Run, slides: Path, started: list[running.Task], option: tuple[str, ...]
) -> None:
    assert run(slides).exit_code == 0
    line = [*(str(each) for each in started[0].out.parent.parent.glob("slides")), *option]
    folder = started[0].out.parent
    model = started[0].options[1]
    tissue = [] if "--tissue" in option else ["--no-tissue"]
    other = CliRunner().invoke(segment.main, [*line, "-o", str(folder), "--model", model, *tissue])
    assert other.exit_code == 2
    name = option[0].removeprefix("--")
    assert f"The results of a are of another question: other {name}." in other.stderr
    assert "--overwrite" in other.stderr


def test_a_slide_that_was_replaced_is_noticed_and_one_that_was_touched_is_not(
    run: Run, slides: Path, started: list[running.Task]
) -> None:
    assert run(slides).exit_code == 0
    (slides / "a.tif").touch()
    assert run(slides).exit_code == 0
    (slides / "a.tif").write_bytes((slides / "b.tif").read_bytes())
    replaced = run(slides)
    assert (replaced.exit_code, "The slide a has changed since its results." in replaced.stderr) == (2, True)
    assert len(started) == 2


def test_a_process_that_dies_is_a_slide_that_failed(
    run: Run, slides: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(task: running.Task) -> Any:
        task.out.mkdir(exist_ok=True)
        (task.out / running.LOG).write_text("some line\n")
        return Ended(-signal.SIGSEGV)

    monkeypatch.setattr(running, "start", start)
    done = run(slides)
    assert done.exit_code == 1
    assert f"a: failed: ended by SIGSEGV, see {tmp_path / 'out' / 'a' / running.LOG}" in done.stderr


def test_as_many_at_once_as_asked_and_sigterm_ends_them(
    run: Run, slides: Path, monkeypatch: pytest.MonkeyPatch, made_slide: Callable[..., Path]
) -> None:
    made_slide(np.full((64, 64, 3), 99, np.uint8), "slides/c.tif")
    ended, begun = [], []

    class Lasting(Ended):
        def poll(self) -> None:  # type: ignore[override] # it runs
            signal.raise_signal(signal.SIGTERM)

        def terminate(self) -> None:
            ended.append(self)

    def start(task: running.Task) -> Any:
        begun.append(task.options[task.options.index("--threads") + 1])
        return Lasting(0)

    monkeypatch.setattr(running, "start", start)
    done = run(slides, "--jobs", 2)
    assert done.exit_code == 130
    assert (len(begun), len(ended)) == (2, 2)
    assert [line.split()[1] for line in done.stdout.splitlines()[1:4]] == ["interrupted", "interrupted", "not"]
