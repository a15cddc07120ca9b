"""The memory of a worker: the budget, the tiles that fit into it, and what is said of others."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ByteSize

from workers.core.errors.jobs import JobTooLarge
from workers.core.model.catalogue import find_model
from workers.core.model.schemas import ModelCard, ModelMemory, ObjectRules, Precision
from workers.core.roi.polygons import read_roi
from workers.core.settings import Settings
from workers.core.sizing import memory
from workers.core.sizing.memory import (
    Plane,
    estimated_peak_bytes,
    forward_side,
    machine_memory_bytes,
    require_room_for,
    sizes_within,
    tile_sides,
    worker_memory_bytes,
)
from workers.core.slide_schemas import SlideGeometry, SlideLevel
from workers.segment import main as segment

SIDE = 20_000
LEVEL = SlideLevel(width=SIDE, height=SIDE, downsample=1)
GEOMETRY = SlideGeometry(l0_width=SIDE, l0_height=SIDE, levels=(LEVEL,))
MIB = 2**20


@pytest.fixture
def card(model_folder: Path) -> ModelCard:
    card = find_model(model_folder.parent, model_folder.name)
    memory_of_it = ModelMemory(loaded=20 * MIB, per_px=9000, per_px_half=4500)
    return card.model_copy(update={"tile_px": 1024, "memory": memory_of_it, "half": True})


def peak(card: ModelCard, tile_px: int, precision: Precision = "float32", side: int = SIDE) -> int:
    return estimated_peak_bytes(card, tile_px, 1024, precision, Plane(GEOMETRY, (side, side), (side, side)))


def test_tiles_are_the_models_own_and_halves_on_the_grid_of_its_stride(card: ModelCard) -> None:
    assert tile_sides(card) == (1024, 512, 256)
    assert tile_sides(card.model_copy(update={"tile_px": 768, "stride_px": 64})) == (768, 384)
    assert tile_sides(card.model_copy(update={"tile_px": 1024, "stride_px": 512})) == (1024, 512)
    assert tile_sides(card.model_copy(update={"tile_px": 256})) == (256,)


def test_the_largest_tiles_are_taken_that_fit(card: ModelCard) -> None:
    peaks = [peak(card, tile_px) for tile_px in (1024, 512, 256)]
    assert peaks == sorted(peaks, reverse=True)
    for room_bytes, tile_px in ((peaks[0], 1024), (peaks[0] - 1, 512), (peaks[1], 512), (peaks[1] - 1, 256)):
        sizes = sizes_within(card, None, "float32", GEOMETRY, (SIDE, SIDE), room_bytes)
        assert (sizes.tile_px, sizes.region_px) == (tile_px, 1024), "regions stay what they are"
        assert sizes.peak_bytes <= room_bytes
    with pytest.raises(JobTooLarge, match="in the smallest tiles too"):
        sizes_within(card, None, "float32", GEOMETRY, (SIDE, SIDE), peaks[2] - 1)


def test_what_a_pass_takes_follows_the_model_the_precision_and_the_plane(card: ModelCard) -> None:
    side = forward_side(1024, card.halo_px, card.stride_px)
    less = peak(card, 1024) - peak(card, 1024, "bfloat16")
    assert less == pytest.approx(memory.REPEATED * 4500 * side**2, abs=2)
    unmeasured = card.model_copy(update={"memory": None})
    assert peak(unmeasured, 1024) > peak(card.model_copy(update={"memory": ModelMemory(loaded=0, per_px=1000)}), 1024)
    assert peak(card, 1024, side=300) < peak(card, 1024, side=1024) <= peak(card, 1024, side=4000)
    assert peak(card, 1024, side=200_000) == peak(card, 1024, side=SIDE)


def test_what_is_asked_of_a_slide_counts_and_no_more(card: ModelCard) -> None:
    changed = {"objects": ObjectRules(interior=True), "tile_px": 256, "memory": ModelMemory(loaded=0, per_px=1)}
    interior = card.model_copy(update=changed)
    rois = [*(read_roi([0, 0, side, side]) for side in (600, 3000, 10 * SIDE)), None]
    peaks = [sizes_within(interior, None, "float32", GEOMETRY, (SIDE, SIDE), 2**60, roi).peak_bytes for roi in rois]
    assert peaks[0] < peaks[1] < peaks[2] == peaks[3]


def test_a_worker_with_less_than_was_planned_says_so() -> None:
    require_room_for(MIB, MIB)
    with pytest.raises(JobTooLarge, match="less memory than those the job was planned for") as refusal:
        require_room_for(3 * MIB + 1, 2 * MIB)
    assert (refusal.value.value, str(refusal.value.accepted)[:13]) == ("4 MiB", "at most 2 MiB")


@pytest.mark.parametrize("name", ["LDIFFUSION_WORKER_MEMORY", "LDIFFUSION_JOB_MEMORY_BYTES"])
def test_the_budget_is_told_in_words_and_by_its_old_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1.5GiB" if name.endswith("MEMORY") else "1610612736")
    assert Settings().worker_memory == 3 * 2**29


@pytest.mark.parametrize("size", ["much", "-1GiB", "0", "1 parsec"])
def test_memory_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    done = CliRunner().invoke(segment, ["slide.tif", "-o", str(tmp_path / "out"), "--memory", size])
    assert done.exit_code == 2
    assert "accepted: a number of bytes" in done.output


def test_a_limit_of_the_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (limit, tmp_path / "absent"))
    whole = machine_memory_bytes()
    for text, expected in (("max\n", whole), ("1048576\n", 1048576), (f"{10**18}\n", whole)):
        limit.write_text(text)
        assert machine_memory_bytes() == expected


def test_workers_share_most_of_what_is_there_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1000000")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (limit,))
    assert worker_memory_bytes(Settings(workers=3)) == 300_000
    assert worker_memory_bytes(Settings(workers=3), 2) == 450_000
    assert worker_memory_bytes(Settings(workers=3, worker_memory=ByteSize(5))) == 5
    assert worker_memory_bytes(Settings(workers=3, worker_memory=ByteSize(950_000))) == 900_000, "all that there is"
