"""The command as a whole, over slides whose labels are known: what is dark is a nucleus."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from dark_squares import FIRST, SECOND, Darkness, Deep, grid, nuclei, picture
from numpy.typing import NDArray
from qupath_export import annotation, box, write_export

from workers import segment
from workers.core.errors.base import RequestInvalid
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.validate import __main__ as command
from workers.validate.survey import origin_of

Check = Callable[..., Result]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> Check:
    monkeypatch.setattr(command, "Engine", Darkness)

    def call(slide: Path, truth: Path, *options: object) -> Result:
        line = [slide, truth, "--model", model_folder, "--no-tissue", *options]
        return CliRunner().invoke(command.main, [str(each) for each in line])

    return call


def figures_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("zoom", [1, 2])
def test_squares_that_are_shifted_give_the_figures_of_the_shift(
    check: Check, made_slide: Callable[..., Path], tmp_path: Path, zoom: int
) -> None:
    """25 found squares of 20 px that were annotated 5 px further to the right: 300 of 500 px are shared.

    In the second region 24 of 30 were annotated, where they are; 2 annotated ones were not found.
    """
    found = [*grid(FIRST, 25), *grid(SECOND, 30), (1000, 600)]
    slide = made_slide(picture(found, zoom), mpp=0.5 / zoom)
    file = write_export(
        tmp_path / "truth.geojson",
        *(annotation("Region*", box(*(zoom * side for side in region))) for region in (FIRST, SECOND)),
        *nuclei(grid(FIRST, 25), shift=5, zoom=zoom),
        *nuclei([*grid(SECOND, 24), *grid(SECOND, 32)[30:]], zoom=zoom),
        *nuclei([(500, 600)], zoom=zoom),
        *nuclei([(610, 110)], of="Vessel", zoom=zoom),
    )
    result = check(slide, file, "--out", tmp_path / "out")
    told = figures_of(result)
    both, called, annotated = 25 * 300 + 24 * 400, 55 * 400, 51 * 400
    assert told["dice"]["nucleus"] == pytest.approx(2 * both / (called + annotated), abs=1e-12)
    assert told["iou"]["nucleus"] == pytest.approx(both / (called + annotated - both), abs=1e-12)
    area = 300 * 300 + 300 * 400
    expected = [[area - called - annotated + both, called - both], [annotated - both, both]]
    assert told["confusion"] == expected
    objects = told["instances"]
    assert objects["sq"] == pytest.approx((25 * 0.6 + 24) / 49)
    assert objects["f1"] == objects["dq"] == pytest.approx(2 * 49 / (55 + 51))
    assert (objects["precision"], objects["recall"]) == pytest.approx((49 / 55, 49 / 51))
    assert objects["pq"] == pytest.approx(objects["sq"] * objects["dq"])
    assert objects["count_error"] == pytest.approx((0 + (30 - 26) / 26) / 2)
    assert told["intervals"] == {}
    assert (told["regions"], told["annotations"], told["mm2"]) == (2, [25, 26], [0.0225, 0.03])
    assert told["objects"] == {"reference": {"instances": 2}, "split_by": "components", "images_counted": 2}
    assert [each["code"] for each in told["warnings"]] == ["truth_left_out", "truth_outside"]
    assert "warning: truth_left_out: Annotations of other classes" in result.stderr
    assert "(Vessel: 1)" in result.stderr
    assert "do not count. (1)" in result.stderr
    assert "2 regions of made.tif" in result.stdout
    written = json.loads((tmp_path / "out" / "validation.json").read_text())
    regions = written.pop("per_region")
    assert written == told
    assert [each["name"] for each in regions] == ["region 1", "region 2"]
    assert np.sum([each["confusion"] for each in regions], axis=0).tolist() == expected
    assert (tmp_path / "out" / "validation.md").read_text().startswith("# made-model on made.tif\n")


def test_truth_that_is_what_the_model_says_is_perfect_whatever_it_is_called(
    check: Check, made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    """A 26th square is under what is to be ignored, a 27th crosses the border, half of it annotated."""
    slide = made_slide(picture([*grid(FIRST, 26), (390, 360)]))
    field = annotation("Field of view", box(*FIRST))
    annotated = nuclei([*grid(FIRST, 25), (390, 360)], of="Tumor nuclei")
    ignored = annotation("Ignore*", box(155, 305, 185, 335))
    file = write_export(tmp_path / "truth.geojson", field, *annotated, ignored)
    told = figures_of(check(slide, file, "--region", "Field of view", "--map", "Tumor nuclei=nucleus"))
    assert set(told["instances"].values()) == {1, 0}
    assert told["instances"]["count_error"] == 0
    assert set(told["dice"].values()) == {1}
    assert told["warnings"] == []
    assert np.sum(told["confusion"]) == 300 * 300 - 30 * 30
    assert len(Darkness.asked) == 4, "only the tiles of 256 px that the region lies in"


def test_nuclei_that_touch_are_one_object_of_a_model_without_an_interior_map(
    check: Check, made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    pairs = [corner for x, y in grid(FIRST, 25) for corner in ((x, y), (x + 20, y))]
    slide = made_slide(picture(pairs))
    file = write_export(tmp_path / "truth.geojson", annotation("Region*", box(*FIRST)), *nuclei(pairs))
    told = figures_of(check(slide, file))
    assert told["dice"]["nucleus"] == 1
    assert (told["instances"]["f1"], told["instances"]["count_error"]) == (0, 0.5)


def test_nuclei_that_touch_are_told_apart_by_the_interior_map_as_in_a_job(
    check: Check, monkeypatch: pytest.MonkeyPatch, made_slide: Callable[..., Path], model_folder: Path, tmp_path: Path
) -> None:
    """Pairs with a paler seam, columns 18 to 21 of 40: the flood gives each its half."""
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"network": {"interior_um": 2.0}}))
    monkeypatch.setattr(command, "Engine", Deep)
    pairs = [corner for x, y in grid(FIRST, 25) for corner in ((x, y), (x + 20, y))]
    pixels = picture(pairs)
    for x, y in grid(FIRST, 25):
        pixels[y : y + 20, x + 18 : x + 22] = 60
    file = write_export(tmp_path / "truth.geojson", annotation("Region*", box(*FIRST)), *nuclei(pairs))
    told = figures_of(check(made_slide(pixels), file))
    assert told["objects"]["split_by"] == "model"
    assert (told["instances"]["f1"], told["instances"]["pq"], told["instances"]["count_error"]) == (1, 1, 0)


def test_objects_below_the_models_smallest_are_not_found(
    check: Check, made_slide: Callable[..., Path], model_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    slide = made_slide(picture(grid(FIRST, 25)))
    file = write_export(tmp_path / "truth.geojson", annotation("Region*", box(*FIRST)), *nuclei(grid(FIRST, 25)))
    for smallest, recall in ((100.0, 1), (100.5, 0)):  # they have 400 px of 0.25 µm²
        (model_folder / "config.json").write_text(json.dumps(config | {"objects": {"smallest_um2": smallest}}))
        told = figures_of(check(slide, file))
        assert (told["instances"]["recall"], told["dice"]["nucleus"]) == (recall, 1)


def test_five_regions_give_intervals(check: Check, made_slide: Callable[..., Path], tmp_path: Path) -> None:
    regions = [(200 * i, 0, 200 * i + 150, 150) for i in range(5)]
    found = [corner for i, region in enumerate(regions) for corner in grid(region, 9 - i)]
    slide = made_slide(picture(found))
    annotated = [corner for region in regions for corner in grid(region, 9)]
    shapes = [*(annotation("Region*", box(*region)) for region in regions), *nuclei(annotated)]
    result = check(slide, write_export(tmp_path / "truth.geojson", *shapes), "--bootstrap", 50)
    told = figures_of(result)
    low, high = told["intervals"]["instances"]["recall"]
    assert 5 / 9 <= low < told["instances"]["recall"] == 35 / 45 < high <= 1
    assert "bootstrap over regions, 50 resamples" in result.stdout
    fewer = write_export(tmp_path / "truth.geojson", *shapes[1:])
    assert figures_of(check(slide, fewer, "--bootstrap", 50))["intervals"] == {}


@pytest.mark.parametrize(
    ("features", "options", "line"),
    [
        ([], [], "error: invalid_request: The truth has no region within which everything was annotated. Given: no "),
        (nuclei([(0, 0)]), [], "error: invalid_request: The truth has no region "),
        ([annotation("Region*", box(*FIRST))], [], "error: invalid_request: No annotation has a class of the model. "),
        (nuclei([(110, 110)]), ["--map", "x"], "error: invalid_request: --map names no class. Given: x. Accepted: "),
        (
            [annotation("Region*", box(*FIRST)), *nuclei([(700, 300)])],
            [],
            "error: invalid_request: No annotation of a class of the model lies in a region. Given: 1 annotations, 1 ",
        ),
        (
            [annotation("Region*", box(2000, 0, 2100, 90)), *nuclei([(2010, 10)])],
            [],
            "error: roi_outside: The region of interest holds nothing of the slide. Given: (2000.0, 0.0, 2100.0, 90.0)",
        ),
        (nuclei([(0, 0)]), ["--model", "absent"], "error: model_not_found: "),
        (nuclei([(0, 0)]), ["--seed", "-1"], "error: invalid_request: --seed: "),
        (nuclei([(0, 0)]), ["--mpp", "90"], "error: mpp_out_of_range: "),
    ],
)
def test_a_bad_question_is_one_line_and_exit_2(
    check: Check,
    made_slide: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    features: list[Any],
    options: list[str],
    line: str,
) -> None:
    monkeypatch.setattr(command, "Engine", lambda *_: pytest.fail("the model was loaded"))
    slide = made_slide(picture(grid(FIRST, 25)))
    result = check(slide, write_export(tmp_path / "truth.geojson", *features), *options)
    assert (result.exit_code, result.stderr[: len(line)]) == (2, line)
    assert result.stderr.count("\n") == 1


def test_a_slide_or_a_truth_that_is_none_is_refused(
    check: Check, made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    slide = made_slide(picture(grid(FIRST, 1)))
    for arguments, line in (
        ((slide, tmp_path / "absent"), "error: invalid_request: The truth cannot be read: "),
        ((slide, slide), "error: invalid_request: The truth cannot be read: "),
        ((tmp_path / "absent", slide), "error: slide_unreadable: The slide file is not there."),
    ):
        result = check(*arguments)
        assert (result.exit_code, result.stderr[: len(line)]) == (2, line)
        assert result.stderr.count("\n") == 1


def test_the_frame_is_asked_for_where_qupath_may_have_cropped() -> None:
    level = SlideLevel(width=900, height=900, downsample=1)
    plain = SlideGeometry(l0_width=900, l0_height=900, levels=(level,))
    cropped = plain.model_copy(update={"bounds": (40, 7, 500, 500)})
    whole = plain.model_copy(update={"bounds": (0, 0, 500, 500)})
    for geometry in (plain, whole):
        assert {origin_of(geometry, space) for space in (None, "level0", "qupath")} == {(0, 0)}
    assert origin_of(cropped, "qupath") == (40, 7)
    assert origin_of(cropped, "level0") == (0, 0)
    with pytest.raises(RequestInvalid, match="bounds, to which QuPath crops") as refused:
        origin_of(cropped, None)
    assert refused.value.accepted is not None
    assert refused.value.accepted.startswith("--space qupath")


@pytest.mark.process
def test_truth_is_refused_before_torch_is_loaded(
    made_slide: Callable[..., Path], model_folder: Path, tmp_path: Path, repo_root: Path
) -> None:
    slide, truth = made_slide(picture(grid(FIRST, 1))), write_export(tmp_path / "truth.geojson")
    code = (
        "import sys; from workers.validate.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, slide, truth, "--model", model_folder],
        capture_output=True, text=True, cwd=repo_root, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    assert done.stderr.startswith("error: invalid_request: The truth has no region")


@pytest.mark.slow
def test_the_polygons_of_a_job_are_a_truth_that_it_meets(
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    made_slide: Callable[..., Path],
    stained: NDArray[np.uint8],
    colour: ModuleType,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    """What the same model made of the whole slide, exported, cut and drawn anew: only the simplified borders differ."""
    import gzip

    for module in (segment, command):
        monkeypatch.setattr(module, "Engine", lambda folder, *_: colour.ColourEngine(folder))
    slide = made_slide(stained)
    done = CliRunner().invoke(segment.main, [str(slide), "-o", str(tmp_path / "out"), "--model", str(model_folder)])
    assert done.exit_code == 0, done.output
    export = json.loads(gzip.decompress((tmp_path / "out" / "regions.geojson.gz").read_bytes()))
    for feature in export["features"]:
        feature["properties"]["objectType"] = "annotation"
    export["features"] += [
        annotation("Region*", box(300, 200, 500, 400)),
        annotation("Region*", box(550, 300, 800, 600)),
    ]
    (tmp_path / "truth.geojson").write_text(json.dumps(export))
    told = figures_of(check(slide, tmp_path / "truth.geojson", "--tissue"))
    assert told["dice"]["nucleus"] > 0.98
    assert told["instances"]["f1"] > 0.9
