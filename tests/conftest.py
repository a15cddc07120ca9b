"""Fixtures of the whole suite: real data where it is present, slides made on the spot elsewhere."""

import os
from collections.abc import Callable
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
from made_models import write_model_config, write_random_model
from made_slides import MadeSlide, write_slide
from numpy.typing import NDArray

from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan
from workers.core.slide_schemas import SlideGeometry, SlideLevel

ROOT = Path(__file__).resolve().parents[1]

pytest_plugins = [
    *(
        "markers",
        "catalogue_fixtures",
        "storages",
        "tests.fixtures.gateway_fixtures",
        "attack_fixtures",
        "queue_fixtures",
        "pipeline_fixtures",
        "tus_fixtures",
        "fiducials",
        "https_files",
        "case_fixtures",
        "fault_report",
        "fault_storage",
        "fault_fixtures",
        "apart",
    ),
    "root_path_fixtures",
    "viewer_fixtures",
]

# No deadline: a machine under load is no reason for a test to fail. CI tries the same examples each time.
hypothesis.settings.register_profile("suite", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.register_profile("fast", hypothesis.settings.get_profile("suite"), max_examples=15)
hypothesis.settings.load_profile("suite")  # `make test-fast` asks for the other by --hypothesis-profile


# --- the checkout -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Folder of the checkout."""
    return ROOT


# --- real data, skipped where absent ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real slides and masks: `LDIFFUSION_TEST_DATA`, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("LDIFFUSION_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LDIFFUSION_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def cmu_slide(shared_data: Path) -> Path:
    """The real Aperio CMU-1 small region: 2220 x 2967 px, one level, 0.499 µm/px."""
    return existing(shared_data / "wsi" / "CMU-1-Small-Region.svs")


@pytest.fixture(scope="session")
def crc_slide(shared_data: Path) -> Path:
    """A real pyramidal TIFF, 9984 x 16384 px, six levels, that does not say its µm/px."""
    return existing(shared_data / "wsi" / "crc_P2_0039_sec4_9984x16384.tif")


def existing(path: Path) -> Path:
    """Return `path`, or skip the test where the file is absent."""
    if not path.is_file():
        pytest.skip(f"no real slide at {path}")
    return path


# --- slides made on the spot ------------------------------------------------------------------------------------------


@pytest.fixture
def made_slide(tmp_path: Path) -> MadeSlide:
    """Return a function that writes a small pyramidal TIFF; see `write_slide` for its arguments."""

    def make(pixels: NDArray[np.uint8], name: str = "made.tif", **options: Any) -> Path:
        return write_slide(tmp_path / name, pixels, **options)

    return make


# --- plans and label planes without a slide ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., Plan]:
    """Return a function that makes the plan of a plane of this size; level 0 is as large as scale and mpp make it."""

    def make(w_width: int, w_height: int, region_px: int = 256, **changes: Any) -> Plan:
        mpp_x, mpp_y = changes.pop("mpp_x", 0.5), changes.pop("mpp_y", 0.5)
        model_mpp = changes.pop("model_mpp", 0.5)
        l0_width = changes.pop("l0_width", ceil(w_width * Fraction(str(model_mpp)) / Fraction(str(mpp_x))))
        l0_height = changes.pop("l0_height", ceil(w_height * Fraction(str(model_mpp)) / Fraction(str(mpp_y))))
        level = SlideLevel(width=l0_width, height=l0_height, downsample=1)
        bounds = changes.pop("bounds", None)
        plan = Plan(
            job_id="0123456789abcdef" * 2,
            slide_id="f" * 32,
            slide_sha256="e" * 64,
            model="made",
            model_digest="d" * 64,
            geometry=SlideGeometry(
                l0_width=l0_width, l0_height=l0_height, mpp_x=mpp_x, mpp_y=mpp_y, bounds=bounds, levels=(level,)
            ),
            mpp_x=mpp_x,
            mpp_y=mpp_y,
            mpp_source="metadata",
            model_mpp=model_mpp,
            level=0,
            w_width=w_width,
            w_height=w_height,
            region_px=region_px,
            tile_px=region_px,
            halo_px=0,
            stride_px=1,
            seed=0,
            regions=(),
            tissue=True,
            classes=(
                ModelClass(index=0, name="background", color=(10, 20, 30)),
                ModelClass(index=1, name="nucleus", color=(200, 30, 60)),
                ModelClass(index=2, name="stroma", color=(20, 130, 60)),
                ModelClass(index=4, name="café <µ>", color=(0, 90, 220)),
            ),
            estimated_peak_bytes=0,
        )
        return plan.model_copy(update=changes)

    return make


class WatchedPlane:
    """An array of the working plane in memory that notes how much each read asks for, as (height, width)."""

    def __init__(self, pixels: NDArray[np.uint8], chunk: int) -> None:
        self.pixels = pixels
        self.shape = pixels.shape
        self.chunks = (chunk, chunk)
        self.reads: list[tuple[int, int]] = []

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.uint8]:
        rows, columns = (range(length)[part] for part, length in zip(key, self.shape, strict=True))
        self.reads.append((rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
        return self.pixels[key]


@pytest.fixture(scope="session")
def watched() -> Callable[..., Any]:
    """Return a function that makes a `WatchedPlane` of pixels and a chunk side."""
    return WatchedPlane


# --- a model with random weights --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small, untrained, seeded model `random-model` at 0.5 µm/px with three classes."""
    return write_random_model(tmp_path_factory.mktemp("models") / "random-model")


# --- a pipeline whose model is a pure function of a pixel's colour ---------------------------------------------------


@pytest.fixture(scope="session")
def colour() -> ModuleType:
    """Return the module `colour_worker.py`: the model, its answers, and the worker process that runs it."""
    spec = spec_from_file_location("colour_worker", ROOT / "tests" / "fixtures" / "colour_worker.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Return the folder of a model `made-model` at 0.5 µm/px, with tiles of 256 px and two classes, without weights."""
    folder = tmp_path / "models" / "made-model"
    if not folder.exists():
        write_model_config(folder)
    return folder


@pytest.fixture
def stained() -> NDArray[np.uint8]:
    """Return pixels (900, 1300, 3) of an ellipse of pink tissue, in cells of 13 px, on bright glass."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(238, 246, (900, 1300, 3), dtype=np.uint8)
    rows, cols = np.ogrid[:900, :1300]
    inside = ((rows - 420) / 330) ** 2 + ((cols - 560) / 450) ** 2 < 1
    cells = rng.integers(0, 90, (70, 100, 3)) + np.array([140, 40, 110])
    pixels[inside] = cells.repeat(13, axis=0)[:900].repeat(13, axis=1)[inside]
    return pixels
