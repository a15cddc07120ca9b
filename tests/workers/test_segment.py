"""The command line over one slide, in this process with a colour for a model, and as a process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from workers import segment, stages
from workers.core.children.readers import Readers
from workers.core.slides.readers.registry import open_slide

Run = Callable[..., Result]


@pytest.fixture
def slide(made_slide: Callable[..., Path], stained: NDArray[np.uint8]) -> Path:
    return made_slide(stained, "made slide.tif")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, colour: ModuleType) -> list[Any]:
    """The models that were loaded, in order."""
    loaded: list[Any] = []

    def load(model_dir: Path, device: str, threads: int) -> Any:
        loaded.append(colour.ColourEngine(model_dir))
        return loaded[-1]

    monkeypatch.setattr(segment, "Engine", load)
    return loaded


@pytest.fixture
def run(engines: list[Any], model_folder: Path, tmp_path: Path) -> Run:
    def call(slide: Path, *options: object, out: str = "out") -> Result:
        arguments = [slide, "-o", tmp_path / out, "--model", model_folder, *options]
        return CliRunner().invoke(segment.main, [str(argument) for argument in arguments])

    return call


@pytest.mark.parametrize("name", [b"sl\xe4de.tif", b"a\nb\x1b[2J\xff.tif"])
def test_a_name_that_is_not_utf_8_is_read_and_is_written_so_that_it_can_be_read(
    run: Run, slide: Path, tmp_path: Path, name: bytes
) -> None:
    odd = tmp_path / os.fsdecode(name)
    shutil.copy(slide, odd)
    result = run(odd, out=os.fsdecode(b"erg\xe4bnis"))
    assert result.exit_code == 0, result.output
    (out,) = (path for path in tmp_path.iterdir() if path.is_dir() and (path / "result.json").exists())
    assert os.fsencode(out).endswith(b"erg\xe4bnis")
    written = json.loads((out / "result.json").read_bytes())["slide_filename"]
    assert written == {b"s": "sl\ufffdde.tif", b"a": "ab[2J\ufffd.tif"}[name[:1]]
    for path in out.iterdir():  # nothing that was written quotes the byte
        assert path.suffix not in (".json", ".xml") or path.read_bytes().decode("utf-8")
    with tifffile.TiffFile(out / "overlay.ome.tif") as tiff:
        assert tiff.ome_metadata is not None
        ET.fromstring(tiff.ome_metadata)
    again = run(tmp_path / os.fsdecode(b"not-th\xe8re.tif"), out="other")
    assert again.exit_code == 2
    assert "not-th\ufffdre.tif" in again.output


def test_a_slide_becomes_a_complete_folder(run: Run, slide: Path, tmp_path: Path, colour: ModuleType) -> None:
    result = run(slide)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        *stages.RESULTS,
        "result.json",
        "plan.json",
        "tissue.png",
        "quality.png",
        "labels.zarr",
    }
    labels = tifffile.imread(out / "labels.ome.tif", level=0)
    pixels = tifffile.imread(slide)
    assert np.array_equal(labels[300:500, 400:700], colour.label_of(pixels)[300:500, 400:700])
    counted = json.loads((out / "statistics.json").read_text())
    nuclei = counted["classes"][1]
    assert nuclei["pixels"] == np.count_nonzero(labels == 1) > 0
    assert f"nucleus     {nuclei['mm2']:>10.4f}" in result.stdout
    assert "seconds: plan" in result.stdout
    assert "peak memory" in result.stdout


@pytest.mark.process
def test_through_a_child_and_in_this_process_the_results_are_the_same(
    run: Run, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(slide, "--quality", out="child").exit_code == 0
    monkeypatch.setattr(Readers, "_open", lambda *_: pytest.fail("a child was asked"))
    monkeypatch.setattr(Readers, "reads_here", True)
    assert run(slide, "--quality", out="here").exit_code == 0
    names = [path.name for path in (tmp_path / "child").iterdir() if path.is_file() and path.name != "result.json"]
    assert set(names) == {*stages.EVERYTHING}
    for name in names:
        assert (tmp_path / "child" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


@pytest.mark.slow
def test_the_size_of_the_regions_does_not_show(run: Run, slide: Path, tmp_path: Path) -> None:
    for side in (256, 768):
        assert run(slide, "--region-px", side, out=f"out-{side}").exit_code == 0
    for name in ("labels.ome.tif", "objects.parquet", "statistics.json", "regions.geojson.gz", "preview.png"):
        assert (tmp_path / "out-256" / name).read_bytes() == (tmp_path / "out-768" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--mpp", "90"], "error: mpp_out_of_range: "),
        (["--region-px", "300"], "error: invalid_request: --region-px: "),
        (["--seed", "-1"], "error: invalid_request: --seed: "),
        (["--model", "no-such-model"], "error: model_not_found: "),
    ],
)
def test_a_bad_question_is_one_line_and_exit_2(
    run: Run, slide: Path, engines: list[Any], options: Sequence[str], line: str
) -> None:
    result = run(slide, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1
    assert engines == []


def test_a_slide_that_is_none_is_refused(run: Run, slide: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.svs"
    text.write_text("this is no slide")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(slide.read_bytes()[:-20_000])
    for path, reason in ((tmp_path / "absent.svs", "is not there"), (text, "no slide format"), (cut, "it holds")):
        result = run(path)
        assert (result.exit_code, result.stderr[:25]) == (2, "error: slide_unreadable: ")
        assert reason in result.stderr
        assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.process
def test_a_slide_without_mpp_is_refused_before_torch_is_loaded(
    made_slide: Callable[..., Path], stained: NDArray[np.uint8], model_folder: Path, tmp_path: Path, repo_root: Path
) -> None:
    silent = made_slide(stained, "silent.tif", mpp=None)
    code = (
        "import sys; from workers import segment\ntry:\n    segment.main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, silent, "-o", tmp_path / "out", "--model", model_folder],
        capture_output=True, text=True, cwd=repo_root, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: mpp_missing: The slide does not say")
    assert done.stdout == "False\n"


def test_a_real_slide_without_mpp_is_refused_and_runs_with_it(run: Run, crc_slide: Path, tmp_path: Path) -> None:
    result = run(crc_slide)
    assert (result.exit_code, result.stderr[:19]) == (2, "error: mpp_missing:")
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.slow
def test_a_complete_folder_is_left_alone_unless_told(run: Run, slide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("of somebody else")
    assert run(slide).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = run(slide, "--seed", 1)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert run(slide, "--seed", 1, "--overwrite").exit_code == 0
    assert json.loads((out / "result.json").read_text())["seed"] == 1
    assert (out / "notes.txt").read_text() == "of somebody else"
    assert run(slide, out="out/notes.txt").exit_code == 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was(
    run: Run, slide: Path, tmp_path: Path, engines: list[Any], monkeypatch: pytest.MonkeyPatch, colour: ModuleType
) -> None:
    assert run(slide, "--region-px", 256, out="whole").exit_code == 0
    total = len(json.loads((tmp_path / "whole" / "plan.json").read_text())["regions"])
    answer = colour.ColourEngine.predict

    def predict(engine: Any, *arguments: Any) -> Any:
        if len(engine.asked) == 5:
            raise KeyboardInterrupt
        return answer(engine, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(colour.ColourEngine, "predict", predict)
        assert run(slide, "--region-px", 256).exit_code == 1
    assert not (tmp_path / "out" / "result.json").exists()
    again = run(slide, "--region-px", 256)
    assert again.exit_code == 0
    assert "5 done before" in again.stderr
    assert len(engines[-1].asked) == total - 5
    for name in stages.RESULTS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_real_slide_in_one_process(run: Run, cmu_slide: Path, tmp_path: Path) -> None:
    result = run(cmu_slide, "--region-px", 1024)
    assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (provenance["mpp_x"], provenance["mpp_source"], provenance["backend"]) == (0.499, "metadata", "openslide")
    assert provenance["slide_filename"] == "CMU-1-Small-Region.svs"


@pytest.mark.slow
def test_a_region_of_interest_is_a_box_or_a_file(run: Run, slide: Path, tmp_path: Path) -> None:
    ring = [[300, 200], [700, 200], [700, 500], [300, 500], [300, 200]]
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    whole, box, file = (
        run(slide, *options, out=name)
        for name, options in (
            ("whole", ()),
            ("box", ("--roi", "300,200,700,500")),
            ("file", ("--roi", tmp_path / "roi.geojson")),
        )
    )
    assert (whole.exit_code, box.exit_code, file.exit_code) == (0, 0, 0), box.output + file.output
    full, part = (tifffile.imread(tmp_path / name / "labels.ome.tif", level=0) for name in ("whole", "box"))
    assert np.array_equal(part[200:500, 300:700], full[200:500, 300:700])
    assert np.count_nonzero(part) == np.count_nonzero(full[200:500, 300:700]) > 0
    regions = [(tmp_path / name / "regions.geojson.gz").read_bytes() for name in ("whole", "box", "file")]
    assert regions[1] == regions[2] != regions[0]
    for wrong in ("1,2,3", "9,9,1,1", tmp_path / "absent"):
        assert run(slide, "--roi", wrong, out="none").exit_code != 0
    feature = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": ring}, "properties": {}}
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    refused = run(slide, "--roi", tmp_path / "roi.geojson", out="none")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith(
        "error: invalid_request: roi.features[0].geometry: a LineString encloses nothing. Given: LineString. Accepted: "
    )


@pytest.mark.slow
def test_an_ellipse_of_qupath_is_segmented_as_one(run: Run, slide: Path, tmp_path: Path) -> None:
    ring = [[300, 200], [700, 200], [700, 500], [300, 500], [300, 200]]
    shape = {"type": "Polygon", "coordinates": [ring], "isEllipse": True, "plane": {"c": -1, "z": 0, "t": 0}}
    feature = {"type": "Feature", "id": "a", "geometry": shape, "properties": {"objectType": "annotation"}}
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert run(slide, out="whole").exit_code == 0
    result = run(slide, "--roi", tmp_path / "roi.geojson", out="part")
    assert result.exit_code == 0, result.output
    full, part = (tifffile.imread(tmp_path / name / "labels.ome.tif", level=0) for name in ("whole", "part"))
    y, x = np.indices(full.shape) + 0.5
    away = ((x - 500) / 200) ** 2 + ((y - 350) / 150) ** 2
    assert np.array_equal(part[away < 0.99], full[away < 0.99])
    assert part[away < 0.99].any()
    assert full[away > 1].any()
    assert not part[away > 1].any()


def test_what_is_doubtful_of_a_slide_is_in_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.full((64, 64, 3), 240, np.uint8)
    options: dict[str, Any] = {"resolution": (2e4, 4e4), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), **options)
    with open_slide(path) as opened:
        assert [each.code for each in segment.describe(path, opened).warnings] == ["mpp_uneven"]
