"""What runs say, kept in one file: the tables are those of the runs' folders."""

import json
from pathlib import Path

import pytest

from models.training.study.__main__ import main
from models.training.study.kept import keep, unpack
from models.training.study.plan import Study, load_study
from models.training.study.results import Run, evaluation_file, is_over
from models.training.study.table import markdown

STUDY = Path(__file__).parents[4] / "models" / "training" / "studies" / "forms-tnbc.toml"


@pytest.fixture
def study() -> Study:
    return load_study(STUDY)


def finished(study: Study, out: Path, name: str, seed: int) -> Path:
    """Write what a run leaves; return its folder."""
    folder = Run(study.variant(name), seed).folder(study, out)
    for step in (0, 140):
        path = evaluation_file(folder, "validation", step)
        path.parent.mkdir(parents=True)
        hit = 50 + 10 * seed + (name == "vectors") + step // 70
        counts = [[90, 7], [5, hit]]
        images = [{"name": "a", "group": "g", "confusion": counts}, {"name": "b", "group": "h", "confusion": counts}]
        figures = {"dice": {"nucleus": hit / 100}, "classes": ["background", "nucleus"], "per_image": images}
        path.write_text(json.dumps(figures | {"protocol": "tissue"}))
    (folder / "settings.json").write_text('{"seed": 0}')
    (folder / "log.jsonl").write_text('{"stage": "stage2", "step": 20, "seconds": 9.5}\n{"note": "µm"}\n')
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return folder


def test_the_table_is_the_same_and_runs_that_are_there_stay(study: Study, tmp_path: Path) -> None:
    out, file, other = tmp_path / "runs", tmp_path / "logs" / "kept.jsonl", tmp_path / "other"
    for name in ("vectors", "none"):
        for seed in (0, 1):
            finished(study, out, name, seed)
    (Run(study.variant("maps"), 0).folder(study, out) / "model").mkdir(parents=True)  # under way
    assert keep(study, out, file) == 4
    assert "weights" not in file.read_text()
    ours = finished(study, other, "none", 1)
    (ours / "settings.json").write_text('{"seed": "ours"}')
    assert unpack(file, other) == 3
    assert json.loads((ours / "settings.json").read_text()) == {"seed": "ours"}
    assert markdown(study, other) == markdown(study, out)
    assert "| none | 2 of 8 |" in markdown(study, other)
    assert unpack(file, other) == 0
    again = tmp_path / "again.jsonl"
    (ours / "settings.json").write_text('{"seed": 0}')
    assert keep(study, other, again) == 4
    assert again.read_bytes() == file.read_bytes()


def test_a_run_that_failed_is_kept_as_one(study: Study, tmp_path: Path) -> None:
    folder = Run(study.variant("maps"), 0).folder(study, tmp_path / "runs")
    folder.mkdir(parents=True)
    (folder / "failed.json").write_text('{"error": "not a number"}')
    keep(study, tmp_path / "runs", tmp_path / "kept.jsonl")
    unpack(tmp_path / "kept.jsonl", tmp_path / "other")
    assert is_over(Run(study.variant("maps"), 0).folder(study, tmp_path / "other"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not a run"),
        ('{"run": "a"}', "not a run"),
        ('{"run": "../a", "files": {}}', "leads out"),
        ('{"run": "a", "files": {"/etc/a": 1}}', "leads out"),
        ('{"run": "a", "files": {"b/../../../c": 1}}', "leads out"),
    ],
)
def test_another_file_is_refused_with_its_line(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text(line + "\n")
    assert main(["unpack", str(file), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_to_keep_is_said(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keep", str(STUDY), "--out", str(tmp_path), "--into", str(tmp_path / "kept.jsonl")]) == 2
    assert "no run of forms-tnbc that is over" in capsys.readouterr().err
