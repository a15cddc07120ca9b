"""What is kept between two pictures: thumbnails as they leave, and nothing of one tenant at the cost of another's."""

from pathlib import Path

import numpy as np
import pytest
from decode_here import DecodeHere
from hypothesis import given
from hypothesis import strategies as st
from made_slides import write_slide
from stored_slides import stored

from server.jobs.retention import Removed
from server.viewing import deepzoom
from server.viewing.kept import REMEMBERED, SingleFlightCache
from server.viewing.service import Viewing
from workers.core.settings import Settings
from workers.core.slides.slide import Pixels
from workers.core.store import Store


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(1, 20)), max_size=10))
def test_many_things_of_one_tenant_make_nobody_elses_forgotten(runs: list[tuple[str, int, int]]) -> None:
    kept, share = SingleFlightCache[str](), REMEMBERED // 3
    last: dict[str, list[str]] = {owner: [] for owner in "abc"}
    for owner, number in ((owner, first + more) for owner, first, count in runs for more in range(count)):
        name = f"{owner}{number}"
        assert kept.get(name, lambda name=name: name, owner) == name  # type: ignore[misc]
        last[owner] = [*(each for each in last[owner] if each != name), name]
        for names in last.values():
            assert all(each in kept._order for each in names[-share:])  # to ask for it would be a use of it
        assert len(kept._order) <= REMEMBERED


def test_a_thumbnail_is_made_once_for_each_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, made, make = Store(tmp_path / "data"), list[tuple[int, ...]](), deepzoom.jpeg
    pixels = np.random.default_rng(0).integers(100, 255, (300, 400, 3)).astype(np.uint8)
    info = stored(store, write_slide(tmp_path / "s.tif", pixels, compression="zlib"))
    viewing = Viewing(store, Settings(), DecodeHere())

    def noted(pixels: Pixels) -> bytes:
        made.append(pixels.shape)
        return make(pixels)

    monkeypatch.setattr(deepzoom, "jpeg", noted)
    assert viewing.ready_thumbnail(info, 200) is None
    first = viewing.thumbnail(info, 200)
    for _ in range(3):
        assert viewing.ready_thumbnail(info, 200) == viewing.thumbnail(info, 200) == first
        assert viewing.ready_thumbnail(info, 100) == viewing.thumbnail(info, 100) != first
    assert made == [(150, 200, 3), (75, 100, 3)]
    viewing.forget(Removed(kind="slide", id=info.id, reason="request", size_bytes=1, slide_id=info.id))
    assert viewing.ready_thumbnail(info, 200) is None
    viewing.close()
