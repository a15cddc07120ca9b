"""Confidence on the grid of the slide, and where two jobs differ: px by px, against slow arithmetic."""

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import zarr
from deepzoom_levels import top_of
from fiducials import CONFIDENCE, MARK_CONFIDENCE, Finished
from numpy.typing import NDArray
from PIL import Image

from server.viewing import job_layers
from server.viewing.job_layers import COLORS, JobLayers
from server.viewing.label_tiles import LabelPyramid, Labels, LabelTiles, Level
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.store import Store, new_id

PRODUCT = "confidence.ome.tif"
SIDE = 600


@pytest.fixture
def client(job: Finished, gateway_settings: Any, gateway_with: Any) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"data_dir": job.store.root})
    with gateway_with(settings) as url:
        address = f"{url}/v1/jobs/{job.job_id}/"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client


def picture(answer: httpx.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def expected(job: Finished, level: int, col: int, row: int) -> NDArray[np.uint8]:
    """The confidence under each px of a tile: of the working px that its centre lies in, one px after another."""
    plane = np.asarray(cast("Any", zarr.open_array(job.folder / "labels.zarr", path="confidence", mode="r"))[:])
    step = 2 ** (top_of(job) - level)
    width, height = (-(-side // step) for side in (job.drawn.width, job.drawn.height))
    found = np.zeros((min(256, height - row * 256), min(256, width - col * 256)), np.uint8)
    scales = [Fraction(str(job.plan.model_mpp)) / Fraction(str(mpp)) for mpp in (job.plan.mpp_x, job.plan.mpp_y)]
    for y, x in np.ndindex(*found.shape):
        w_x, w_y = (
            int(Fraction(2 * place + 1, 2) * step / scale)
            for place, scale in zip((col * 256 + x, row * 256 + y), scales, strict=True)
        )
        if w_y < plane.shape[0] and w_x < plane.shape[1]:
            found[y, x] = plane[w_y, w_x]
    return found


@pytest.mark.slow
def test_a_tile_of_the_confidence_has_that_of_the_px_below(client: httpx.Client, job: Finished) -> None:
    job.product(PRODUCT)
    assert client.get("confidence.dzi").headers["content-type"] == "application/xml"
    top = top_of(job)
    for address in ((top, 2, 1), (top, 3, 2), (top - 1, 4, 2)):
        level, col, row = address
        tile = picture(client.get(f"confidence_files/{level}/{col}_{row}.png"))
        np.testing.assert_array_equal(tile, expected(job, *address))
    values = np.unique(picture(client.get(f"confidence_files/{top}/3_2.png")))
    assert set(values.tolist()) == {CONFIDENCE, MARK_CONFIDENCE}
    assert client.get(f"confidence_files/{top}/99_0.png").status_code == 404


@pytest.mark.parametrize("job", ["plain"], indirect=True)
def test_a_job_is_like_itself_and_is_not_compared_with_that_of_another_slide(
    client: httpx.Client, job: Finished, odd: Finished
) -> None:
    found = client.get(f"difference/{job.job_id}").json()
    assert (found["both"], found["only_this"], found["only_other"], found["other_class"]) == (1, 0, 0, 0)
    assert found["compared_px"] == sum(each.width * each.height for each in job.drawn.marks) / found["step_px"] ** 2
    top = top_of(job)
    tile = picture(client.get(f"difference/{job.job_id}_files/{top}/3_2.png"))
    overlay = np.asarray(Image.open(io.BytesIO(client.get(f"overlay_files/{top}/3_2.png").content)).convert("RGBA"))
    np.testing.assert_array_equal(tile > 0, overlay[..., 3] > 0)
    for address in (f"difference/{odd.job_id}", f"difference/{odd.job_id}.dzi"):
        refused = client.get(address)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
    assert client.get(f"difference/{new_id()}").json()["error"]["code"] == "job_not_found"


class Drawn(LabelTiles):
    """Labels in memory, of level-0 px."""

    def __init__(self, plan: Plan, labels: Labels, classes: tuple[ModelClass, ...]) -> None:
        super().__init__(plan, [Level(1, SIDE, SIDE)])
        self.classes, self._drawn = classes, labels

    def _read(self, level: Level, x0: int, y0: int, x1: int, y1: int) -> Labels:
        return self._drawn[y0:y1, x0:x1]


def named(*names: str) -> tuple[ModelClass, ...]:
    return tuple(ModelClass(index=i, name=name, color=(i, i, i)) for i, name in enumerate(("background", *names)))


def test_two_models_are_compared_by_the_names_of_their_classes(
    make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(SIDE, SIDE, mpp_x=0.5, mpp_y=0.5, model_mpp=0.5)
    random = np.random.default_rng(5)
    this, other = (random.integers(0, 3, (SIDE, SIDE)).astype(np.uint8) for _ in range(2))
    classes = named("gland", "stroma"), named("stroma", "nucleus")
    jobs = {"a": Drawn(plan, this, classes[0]), "b": Drawn(plan, other, classes[1])}
    layers = JobLayers(Store(tmp_path / "data"), lambda job_id: cast("LabelPyramid", jobs[job_id]))
    names = [{each.index: each.name for each in of} for of in classes]
    kinds = np.zeros((SIDE, SIDE), np.uint8)
    for y, x in np.ndindex(SIDE, SIDE):
        one, two = names[0][int(this[y, x])], names[1][int(other[y, x])]
        if one == two != "background":
            kinds[y, x] = 1
        elif one != two:
            kinds[y, x] = 2 if two == "background" else 3 if one == "background" else 4
    tile = Image.open(io.BytesIO(layers.difference_tile("a", "b", (10, 1, 0))))
    np.testing.assert_array_equal(np.asarray(tile), kinds[:256, 256:512])
    seen = np.asarray(tile.convert("RGBA"))
    for kind, color in COLORS.items():
        assert (seen[kinds[:256, 256:512] == kind] == (*color, 255)).all()
    assert not seen[kinds[:256, 256:512] == 0][:, 3].any()
    whole = layers.difference("a", "b")
    counts = np.bincount(kinds.ravel(), minlength=5)
    assert (whole.step_px, whole.compared_px) == (1, counts[1:].sum())
    shares = (whole.both, whole.only_this, whole.only_other, whole.other_class)
    assert shares == pytest.approx(tuple(counts[1:] / counts[1:].sum()))
    monkeypatch.setattr(job_layers, "SAMPLED_PX", 300)
    sampled = JobLayers(Store(tmp_path / "data"), lambda job_id: cast("LabelPyramid", jobs[job_id])).difference(
        "a", "b"
    )
    assert sampled.step_px == 2
    assert sampled.both == pytest.approx(counts[1] / counts[1:].sum(), abs=0.02)


def test_where_nothing_was_found_there_is_no_share(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan(SIDE, SIDE, mpp_x=0.5, mpp_y=0.5, model_mpp=0.5)
    nothing = Drawn(plan, np.zeros((SIDE, SIDE), np.uint8), named("gland"))
    layers = JobLayers(Store(tmp_path / "data"), lambda _job_id: cast("LabelPyramid", nothing))
    assert layers.difference("a", "b").both is None
