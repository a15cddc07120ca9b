"""The shipped models, on real images: what their cards say must be what a run here measures."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
import tifffile
from click.testing import CliRunner
from numpy.typing import NDArray

from models.predictor import Predictor
from models.receptive_field import theoretical_reach
from models.training.crops.data import DatasetConfig, load_dataset
from models.training.evaluation.evaluate import evaluate
from models.training.evaluation.metrics import scores
from workers.core.slides.readers.registry import open_slide
from workers.pipeline.plane import PlaneReader
from workers.pipeline.tiling import Region, WorkingPlane, read_box
from workers.segment import main as segment

ZOO = Path(__file__).resolve().parents[2] / "models" / "zoo"
FOLDERS = sorted(path for path in ZOO.iterdir() if path.is_dir())
LIMIT_BYTES = 20_000_000
NUCLEI = ("nuclei", "nuclei-fast")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_model_is_whole_small_and_has_a_card(folder: Path) -> None:
    predictor = Predictor.load(folder, "cpu")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LIMIT_BYTES
    assert [c.index for c in predictor.classes] == list(range(len(predictor.classes)))
    card = (folder / "README.md").read_text()
    for name, value in predictor.spec.figures.items():
        assert f"{value:.4f}" in card, f"the card does not give {name}"
    assert "Research use" in card


@pytest.mark.parametrize("name", NUCLEI)
def test_nuclei_are_found_as_the_card_says_and_well(shared_data: Path, name: str) -> None:
    samples = load_dataset(DatasetConfig("tnbc/test", 0.25), shared_data, 2)
    predictor = Predictor.load(ZOO / name, "cpu")
    dice = scores(evaluate(predictor, samples)).dice[1]
    # Another CPU rounds otherwise, and a pixel on the edge falls to the other side.
    assert dice == pytest.approx(predictor.spec.figures["dice_nucleus_tnbc_test"], abs=0.002)
    assert dice >= 0.74


@pytest.mark.parametrize("name", NUCLEI)
def test_keratin_is_no_nucleus_and_nuclei_beside_it_are(cmu_slide: Path, name: str) -> None:
    predictor = Predictor.load(ZOO / name, "cpu")
    keratin, epidermis = (1430, 960, 1622, 1184), (600, 2400, 920, 2896)
    with openslide.OpenSlide(cmu_slide) as slide:
        shares = []
        for x0, y0, x1, y1 in (keratin, epidermis):  # the slide's px are 0.499 µm, the model's 0.5
            size = (x1 - x0 + 192, y1 - y0 + 192)
            pixels = np.array(slide.read_region((x0 - 96, y0 - 96), 0, size).convert("RGB"))
            labels, *_ = predictor.predict(pixels[None], [(0, 0)], 0)
            shares.append(float((labels[0, 96:-96, 96:-96] == 1).mean()))
    assert shares[0] < 0.02
    assert 0.05 < shares[1] < 0.25


@pytest.mark.parametrize("name", ["nuclei-paper", "nuclei-fast"])
def test_tile_with_the_theoretical_halo_equals_the_whole_on_a_real_slide(cmu_slide: Path, name: str) -> None:
    predictor = Predictor.load(ZOO / name, "cpu")
    reach = theoretical_reach(predictor.model)
    whole, tile = Region(0, 0, 0, 960, 1024, 1472, 1536), Region(0, 0, 0, 1216, 1280, 1472, 1536)
    with open_slide(cmu_slide) as slide:
        reader = PlaneReader(slide, WorkingPlane.from_geometry(slide.geometry, predictor.mpp, None), 0)
        answers = []
        for core in (whole, tile):
            box = read_box(core, reach, predictor.stride_px)
            image = reader.read(box.w_x, box.w_y, box.width, box.height)
            logits = predictor.logits(image[None], [(box.w_x, box.w_y)], seed=0).numpy()[0]
            answers.append(logits[:, *box.crop(core)])
    assert answers[0].std() > 1
    np.testing.assert_allclose(answers[1], answers[0][:, 256:, 256:], atol=1e-4)


@pytest.fixture(scope="module")
def corner(cmu_slide: Path) -> NDArray[np.uint8]:
    """Pixels (1280, 1280, 3) of epithelium, stroma and glass."""
    with openslide.OpenSlide(cmu_slide) as slide:
        return np.asarray(slide.read_region((500, 900), 0, (1280, 1280)).convert("RGB"))


@pytest.mark.huge
def test_tile_sizes_agree_with_the_shipped_halo(
    corner: NDArray[np.uint8], made_slide: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = made_slide(corner, mpp=0.499)
    labels = []
    config = json.loads((ZOO / "nuclei-fast" / "config.json").read_text())
    for tile_px in (512, 1024, 2048):
        model, out = tmp_path / "models" / str(tile_px) / "nuclei-fast", tmp_path / str(tile_px)
        shutil.copytree(ZOO / "nuclei-fast", model)
        (model / "config.json").write_text(json.dumps(config | {"tile_px": tile_px}))
        asked = [str(slide), "-o", str(out), "--model", str(model)]
        done = CliRunner().invoke(segment, asked)
        assert done.exit_code == 0, done.output
        labels.append(tifffile.imread(out / "labels.ome.tif"))
    shares = [100 * float((labels[1] == other).mean()) for other in (labels[0], labels[2])]
    with capsys.disabled():
        sys.stdout.write(
            f"\nsame labels, tiles of 512 and 1024 px: {shares[0]:.4f} %; of 2048 and 1024 px: {shares[1]:.4f} %\n"
        )
    assert min(shares) >= 99.95
    assert 0.01 < (labels[1] == 1).mean() < 0.6
    _check_products(tmp_path / "1024", labels[1])


def test_the_model_of_the_paper_runs_to_its_end(
    corner: NDArray[np.uint8], made_slide: Callable[..., Path], tmp_path: Path
) -> None:
    slide, out = made_slide(corner[:1024, :1024], mpp=0.499), tmp_path / "out"
    done = CliRunner().invoke(segment, [str(slide), "-o", str(out), "--model", "nuclei-paper"])
    assert done.exit_code == 0, done.output
    labels = tifffile.imread(out / "labels.ome.tif")
    assert 0.01 < (labels == 1).mean() < 0.6
    _check_products(out, labels)


def _check_products(out: Path, labels: NDArray[np.uint8]) -> None:
    """Open what a viewer opens: every level right, every polygon valid, as large as its pixels."""
    with openslide.OpenSlide(out / "overlay.ome.tif") as overlay:
        assert overlay.level_count > 1
        assert overlay.level_dimensions[0] == labels.shape[::-1]
        assert float(overlay.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert not [name for name in overlay.properties if name.startswith("openslide.bounds")]
    with tifffile.TiffFile(out / "labels.ome.tif") as tiff:
        for level in tiff.series[0].levels:
            assert set(np.unique(level.asarray())) <= {0, 1}
    features = json.loads(gzip.decompress((out / "regions.geojson.gz").read_bytes()))["features"]
    shapes = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in features])
    assert shapely.is_valid(shapes).all()
    w_px = (0.5 / 0.499) ** 2
    small = json.loads((out / "statistics.json").read_text())["classes"][1]["small_mm2"] * 1e6 / 0.5**2
    assert shapely.area(shapes).sum() / w_px == pytest.approx(np.count_nonzero(labels) - small, rel=1e-4)
    stated = [feature["properties"]["measurements"]["Area um^2"] for feature in features]
    np.testing.assert_allclose(shapely.area(shapes) * 0.499**2, stated, rtol=2e-3)
