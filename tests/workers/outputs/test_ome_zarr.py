"""The OME-Zarr in zarr and in the NGFF models of others: levels, frames, colours, and the marks in their places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from fiducials import CONFIDENCE, MARK_CONFIDENCE, MODEL_MPP, Finished
from gateway_fixtures import GatewayWith
from numpy.typing import NDArray
from obstore.store import HTTPStore
from ome_zarr_models.v05 import Image, ImageLabel
from ome_zarr_models.v05.labels import Labels
from zarr.storage import ObjectStore

from benchmarks.format_zarr import zipped
from workers.core.errors.base import JobNotFound
from workers.core.label_layout import level_steps
from workers.core.schemas import Plan
from workers.core.settings import Settings
from workers.core.slides.readers.registry import open_slide
from workers.outputs.ome_zarr import image_label, write_ome_zarr
from workers.pipeline.stitch import LabelArrays


@pytest.fixture
def folder(job: Finished) -> Path:
    return job.product("labels.ome.zarr")


def test_it_is_ngff_0_5_by_the_models_of_others(folder: Path) -> None:
    image = Image.from_zarr(zarr.open_group(folder, mode="r"))
    assert image.ome_attributes.version == "0.5"
    assert image.labels is not None
    assert Labels.from_zarr(zarr.open_group(folder, path="labels", mode="r")).ome_attributes.labels == ["classes"]
    label = ImageLabel.from_zarr(zarr.open_group(folder, path="labels/classes", mode="r"))
    described = label.ome_attributes.image_label
    assert described is not None
    colors = described.colors
    assert colors is not None
    assert {each.label_value: each.rgba for each in colors} == {0: (0, 0, 0, 0), 1: (200, 0, 0, 255)}
    scales = label.ome_attributes.multiscales[0].datasets[2].model_dump()["coordinateTransformations"]
    assert [(each["type"], list(each["scale"])) for each in scales] == [("scale", [MODEL_MPP * 4] * 2)]
    assert [axis.unit for axis in label.ome_attributes.multiscales[0].axes] == ["micrometer"] * 2


def assert_marked(job: Finished, store: Any) -> None:
    """Check the levels of image and labels: the marks in their places, every other pixel a level."""
    for group, mark, rest in (("labels/classes", 1, 0), ("", MARK_CONFIDENCE, CONFIDENCE)):
        levels = [np.asarray(zarr.open_array(store, path=f"{group}/{k}", mode="r")[:]) for k in range(3)]
        assert levels[0].shape == (job.plan.w_height, job.plan.w_width)
        assert set(np.unique(levels[0])) == {mark, rest}
        job.assert_marked(levels[0] == mark)
        for k, level in enumerate(levels):
            np.testing.assert_array_equal(level, levels[0][:: 2**k, :: 2**k])


def test_the_marks_are_in_their_places_and_levels_are_every_other_pixel(job: Finished, folder: Path) -> None:
    assert_marked(job, folder)


def test_zarr_reads_it_from_a_server(
    job: Finished, folder: Path, gateway_settings: Settings, gateway_with: GatewayWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with gateway_with(gateway_settings.model_copy(update={"data_dir": job.store.root})) as url:
        address = f"{url}/v1/jobs/{job.job_id}/{folder.name}"
        remote = HTTPStore.from_url(address, client_options={"allow_http": True})
        assert_marked(job, ObjectStore(remote, read_only=True))


def test_chunks_of_background_are_not_written_and_read_as_such(plain: Finished) -> None:
    folder = plain.product("labels.ome.zarr")
    chunks = sorted(
        str(path.relative_to(folder)) for path in (folder / "labels/classes/0/c").rglob("*") if path.is_file()
    )
    assert chunks == [
        *("labels/classes/0/c/0/0", "labels/classes/0/c/0/1"),
        *("labels/classes/0/c/1/1", "labels/classes/0/c/1/2"),
    ]


def test_colours_are_never_empty(make_plan: Callable[..., Plan]) -> None:
    classes = make_plan(1, 1).classes
    found = image_label(classes)
    assert [each["label-value"] for each in found["colors"]] == [0, 1, 2, 4]
    assert [each["rgba"][3] for each in found["colors"]] == [0, 255, 255, 255]
    assert image_label(classes[:1])["colors"]


def test_it_stops_when_the_job_is_gone(
    make_plan: Callable[..., Plan], watched: Callable[..., Any], tmp_path: Path
) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise JobNotFound("gone")

    array = watched(np.zeros((10_000, 600), np.uint8), 512)
    with pytest.raises(JobNotFound):
        write_ome_zarr(tmp_path / "z", LabelArrays(array, array), make_plan(600, 10_000), check)
    assert len(calls) == 3
    assert len(array.reads) == 2


def slowly(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Every `step`-th pixel of every `step`-th row, one by one."""
    return np.array([[pixels[y, x] for x in range(0, pixels.shape[1], step)] for y in range(0, len(pixels), step)])


@pytest.mark.parametrize(("height", "width", "chunk"), [(700, 1300, 256), (9001, 530, 1024), (513, 512, 2048)])
def test_zarr_reads_every_pixel_of_every_level_and_each_pixel_was_decoded_once(
    make_plan: Callable[..., Plan],
    watched: Callable[..., Any],
    tmp_path: Path,
    height: int,
    width: int,
    chunk: int,
) -> None:
    rng = np.random.default_rng(height)
    labels = rng.integers(0, 3, (height, width), dtype=np.uint8)
    labels[:512, :512] = 2  # of one value, and of nothing
    labels[-600:] = 0
    planes = {"labels/classes": labels, "": labels * np.uint8(100)}
    arrays = [watched(plane, chunk) for plane in planes.values()]
    write_ome_zarr(tmp_path / "z", LabelArrays(*arrays), make_plan(width, height), lambda: None)
    for name, plane in planes.items():
        for level, step in enumerate(level_steps(width, height)):
            read = zarr.open_array(tmp_path / "z", path=f"{name}/{level}", mode="r")[:]
            np.testing.assert_array_equal(np.asarray(read), slowly(plane, step))
    for array in arrays:
        assert sum(rows * cols for rows, cols in array.reads) == height * width
        assert max(map(max, array.reads)) <= 4096


@pytest.mark.parametrize("is_zipped", [False, True])
def test_it_opens_again_as_a_slide(job: Finished, folder: Path, tmp_path: Path, *, is_zipped: bool) -> None:
    """The confidence as grey, with the sizes of the plane; the labels beside it are passed over."""
    path = zipped(folder, tmp_path / "a.zip", "labels.ome.zarr/") if is_zipped else folder
    with open_slide(path) as slide:
        levels = slide.geometry.levels
        assert (slide.vendor, slide.geometry.mpp_x, slide.geometry.mpp_origin) == ("ome-zarr", MODEL_MPP, "zarr")
        assert [each.downsample for each in levels] == [2**k for k in range(len(levels))]
        assert slide.warnings == ()
        for k, level in enumerate(levels):
            written = np.asarray(zarr.open_array(folder, path=str(k), mode="r")[:])
            seen = slide.read_level(k, 0, 0, level.width, level.height)
            np.testing.assert_array_equal(seen, np.repeat(written[..., np.newaxis], 3, axis=2))
