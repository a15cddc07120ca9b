"""Small slides that went wrong elsewhere, through both doors: `ldiffusion segment`, and a server with a worker.

What is right for each stands in `tests/fixtures/slide_cases.py`; readers alone are asked in
`tests/workers/core/slides/readers/test_cases.py`.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from made_slides import write_images
from numpy.typing import NDArray
from slide_cases import BLACK, BY_NAME, CASES, FAR, FIRST, RGB, SECOND, SEEING, SUBIFDS, WHITE, Case
from slide_doors import Outcome, Remembering, ServerDoor

from server.cli.submit import submit
from workers import segment

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(900)]

QUPATH = ("ellipse.json", "feature.json", "featurecollection.json", "plane.json")


def outcome(door: Remembering, cases: Path, case: Case) -> Outcome:
    return door(cases / case.file, case.model, case.asked)


def alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of px with the same label, of those that have one in either picture."""
    seen = (one != 0) | (other != 0)
    return float((one == other)[seen].mean())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_slide_is_read_as_what_it_is_or_refused_by_name(door: Remembering, cases: Path, case: Case) -> None:
    found = outcome(door, cases, case)
    is_server = isinstance(door.door, ServerDoor)
    if case.refused:
        assert found.at == (case.at if is_server else "command")
        assert found.refusal.startswith(f"{case.refused}: ")
        assert case.says in found.refusal
        assert not (found.folder / "result.json").exists()
        return
    assert found.refusal == ""
    assert found.geometry is not None
    assert tuple((each["width"], each["height"]) for each in found.geometry["levels"]) == case.sizes
    if "mpp" not in case.asked:
        assert [found.geometry[key] for key in ("mpp_x", "mpp_y", "mpp_origin")] == [case.mpp, case.mpp, case.origin]
    source = "request" if "mpp" in case.asked else "metadata"
    assert [found.record[key] for key in ("mpp_x", "mpp_y", "mpp_source")] == [case.mpp, case.mpp, source]
    assert tuple(each["code"] for each in found.record["warnings"]) == found.shown == case.warnings
    if found.slide is not None:
        assert tuple(each["kind"] for each in found.slide["content"]["images"]) == case.images
        assert tuple(found.slide["content"]["channels"]) == case.channels


@pytest.mark.parametrize("case", [each for each in CASES if each.same_as], ids=lambda case: case.name)
def test_what_shows_the_same_is_segmented_the_same(door: Remembering, cases: Path, case: Case) -> None:
    found, wanted = (outcome(door, cases, each).labels for each in (case, BY_NAME[case.same_as]))
    assert found.shape == wanted.shape
    assert min(np.bincount(wanted.ravel(), minlength=3)[1:]) > 1000
    assert alike(found, wanted) >= case.alike


def test_black_around_a_scan_is_no_tissue(door: Remembering, cases: Path) -> None:
    for case in (BLACK, WHITE):
        found = outcome(door, cases, case).statistics
        assert found["tissue_mm2"] == pytest.approx(0.0405, abs=0.001)
        assert found["classes"][1]["mm2"] == pytest.approx(0.0018, abs=0.00005)


def test_the_second_image_is_segmented_where_it_is_asked_for(door: Remembering, cases: Path) -> None:
    first, second = (outcome(door, cases, case) for case in (FIRST, SECOND))
    assert first.record["warnings"][0]["value"] == "1: B"
    assert alike(first.labels, second.labels) < 0.6
    if first.slide is not None:
        assert [each["name"] for each in first.slide["content"]["images"]] == ["A", "B"]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of several images: what is doubtful, or fluorescence, is some of them alone."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    section = np.full((512, 512, 3), 240, np.uint8)
    cells = rng.integers(0, 90, (12, 12, 3)) + np.array([140, 40, 110])
    section[64:448, 64:448] = cells.repeat(32, axis=0).repeat(32, axis=1)
    small, smaller = section[:384, :384].copy(), section[:384:2, :384:2].copy()
    glow = rng.integers(0, 9, (512, 512, 3)).astype(np.uint8)
    glow[rng.random((512, 512)) < 0.2] = (0, 0, 220)
    write_images(folder / "a.ome.tif", {"A": (section,), "B": (small, smaller[::-1].copy()), "C": (glow[:384],)})
    write_images(folder / "b.ome.tif", {"A": (glow,), "B": (small,)})
    return folder


@pytest.mark.parametrize(
    ("name", "image", "code", "says"),
    [
        ("a", None, "", "images_unread"),
        ("a", 1, "", "level_differs"),
        ("a", 2, "modality_mismatch", "fluorescence"),
        ("b", None, "modality_mismatch", "fluorescence"),
        ("b", 1, "", ""),
    ],
)
def test_what_is_known_of_an_image_is_of_the_one_that_is_asked_for(
    door: Remembering, several: Path, name: str, image: int | None, code: str, says: str
) -> None:
    asked = {} if image is None else {"image": image}
    found = door(several / f"{name}.ome.tif", SEEING, asked)
    assert found.refusal.split(":")[0] == code
    known = {"images_unread", "level_differs", "modality_mismatch"}
    if code:
        assert says in found.refusal
    else:
        assert {each["code"] for each in found.record["warnings"]} & known == set(filter(None, [says]))


def test_the_plane_that_was_read_is_in_the_record(door: Remembering, cases: Path) -> None:
    found = outcome(door, cases, BY_NAME["ome_planes/zstack_tiled.ome.tif"])
    assert found.record["warnings"][0]["value"] == "plane 2 of 3, moment 1 of 1"


@pytest.mark.parametrize("name", ["overlay.ome.tif", "labels.ome.tif"])
def test_our_own_pictures_are_slides_again(door: Remembering, cases: Path, name: str) -> None:
    made = outcome(door, cases, SUBIFDS).folder / name
    found = door(made, SEEING, {"roi": [512, 0, 768, 256], "ignore_modality": True})
    assert found.refusal == ""
    assert found.geometry is not None
    assert [(each["width"], each["downsample"]) for each in found.geometry["levels"]] == [(1024, 1), (512, 2)]
    assert [found.geometry[key] for key in ("mpp_x", "mpp_y", "mpp_origin")] == [0.5, 0.5, "ome"]


def test_the_small_level_in_a_subifd_is_the_one_that_is_read(door: Remembering, far_slide: Path) -> None:
    found = door(far_slide, FAR, {})
    assert found.geometry is not None
    assert [each["width"] for each in found.geometry["levels"]] == [36000, 2250]
    assert (found.record["mpp_x"], found.record["model_mpp"], found.shown) == (0.5, 8, ("no_tissue",))
    if found.slide is None:
        assert json.loads((found.folder / "plan.json").read_text())["level"] == 1


def shape_of(name: str) -> NDArray[np.bool_]:
    """Return which px of 512 x 512 lie in the region of a file of `roi_from_qupath`: their centres."""
    y, x = np.mgrid[:512, :512] + 0.5
    if name == "ellipse.json":
        return np.asarray(((x - 200) / 100) ** 2 + ((y - 200) / 100) ** 2 < 1)
    return np.asarray((abs(x - 200) < 100) & (abs(y - 200) < 100))


@pytest.mark.parametrize("name", QUPATH)
def test_a_region_as_qupath_exports_it_is_taken(door: Remembering, cases: Path, name: str) -> None:
    folder = cases / "roi_from_qupath"
    roi = json.loads((folder / name).read_text())
    found = door(folder / "rgb.tif", SEEING, {"roi": roi, "tissue": False})
    assert found.refusal == ""
    wanted = shape_of(name)
    off = np.count_nonzero((found.labels != 0) != wanted)
    assert off <= (0.005 * np.count_nonzero(wanted) if name == "ellipse.json" else 0)  # drawn as a polygon


@pytest.mark.parametrize("name", QUPATH)
def test_a_region_as_qupath_exports_it_is_checked_and_submitted(
    server_door: ServerDoor, cases: Path, tmp_path: Path, name: str
) -> None:
    folder = cases / "roi_from_qupath"
    roi = json.loads((folder / name).read_text())
    answer = httpx.post(f"{server_door.url}/v1/roi/check", json={"roi": roi}, trust_env=False)
    assert answer.status_code == 200, answer.text
    wanted = np.count_nonzero(shape_of(name))
    assert answer.json()["bounds"] == pytest.approx([100, 100, 300, 300])
    assert answer.json()["area_px2"] == pytest.approx(wanted, rel=0.005)
    submit(server_door.url, folder / "rgb.tif", tmp_path, {"model": SEEING, "roi": roi, "tissue": False})
    assert np.count_nonzero(tifffile.imread(tmp_path / "labels.ome.tif", level=0)) == pytest.approx(wanted, rel=0.005)


@pytest.mark.parametrize("mpp", [True, "0.5e", [0.5], -1, 0])
def test_what_is_no_number_is_no_resolution(server_door: ServerDoor, cases: Path, tmp_path: Path, mpp: Any) -> None:
    path = cases / RGB
    found = server_door(path, SEEING, {"mpp": mpp})
    assert (found.at, found.refusal.split(":")[0]) == ("submit", "invalid_request")
    assert found.slide is not None
    changed = httpx.patch(f"{server_door.url}/v1/slides/{found.slide['id']}", json={"mpp": mpp}, trust_env=False)
    assert (changed.status_code, changed.json()["error"]["code"]) == (422, "invalid_request")
    said = json.dumps(mpp)
    done = CliRunner().invoke(segment.main, [str(path), "-o", str(tmp_path), "--mpp", said])
    assert done.exit_code == 2
    assert "--mpp" in done.stderr


def test_the_table_has_every_file_of_the_cases(cases: Path) -> None:
    elsewhere = {"roi_from_qupath/rgb.tif"}
    there = {str(path.relative_to(cases)) for path in cases.rglob("*.tif")}
    assert {each.file for each in CASES} | elsewhere == there
    assert BY_NAME.keys() >= {each.same_as for each in CASES if each.same_as}
