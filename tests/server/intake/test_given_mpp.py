"""The µm per pixel that a person gives for a slide: kept, taken by later jobs, and undone."""

from datetime import UTC, datetime

import httpx
import pytest
from job_requests import add_slide, code_of, submit

from server.intake.given_mpp import with_mpp
from workers.core.settings import Settings
from workers.core.slides.resolution import resolve_mpp
from workers.core.store import Store


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


@pytest.mark.parametrize("own", [None, 0.25])
def test_what_a_person_gives_is_kept_and_taken_by_later_jobs(
    gateway: httpx.Client, store: Store, own: float | None
) -> None:
    slide_id = add_slide(store, own)
    answer = gateway.patch(f"/v1/slides/{slide_id}", json={"mpp": 0.5})
    assert answer.status_code == 200, answer.text
    slide = gateway.get(f"/v1/slides/{slide_id}").json()
    assert slide == answer.json()
    geometry = slide["geometry"]
    assert (geometry["mpp_x"], geometry["mpp_y"], geometry["mpp_origin"]) == (0.5, 0.5, "person")
    assert slide["file_mpp"]["mpp_x"] == own
    assert submit(gateway, slide_id).status_code == 202
    assert resolve_mpp(store.read_slide(slide_id).geometry, None, 0.5) == (0.5, 0.5, "person")
    undone = gateway.patch(f"/v1/slides/{slide_id}", json={"mpp": None}).json()
    assert (undone["geometry"]["mpp_x"], undone["file_mpp"]) == (own, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"mpp": 0.025}, "mpp_implausible"),
        ({"mpp": 101}, "mpp_implausible"),
        ({"mpp": True}, "invalid_request"),
        ({"mpp": -1}, "invalid_request"),
        ({}, "invalid_request"),
        ({"mpp": 0.5, "name": "x"}, "invalid_request"),
    ],
)
def test_what_no_scanner_makes_changes_nothing(
    gateway: httpx.Client, store: Store, body: dict[str, object], code: str
) -> None:
    slide_id = add_slide(store, 0.25)
    before = store.read_slide(slide_id)
    assert code_of(gateway.patch(f"/v1/slides/{slide_id}", json=body)) == (422, code)
    assert store.read_slide(slide_id) == before


def test_a_second_number_keeps_what_the_file_says(gateway: httpx.Client, store: Store) -> None:
    info = store.read_slide(add_slide(store, 0.25))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    twice = with_mpp(with_mpp(info, 0.4, now), 0.5, now)
    assert twice.file_mpp is not None
    assert (twice.file_mpp.mpp_x, twice.geometry.mpp_x) == (0.25, 0.5)
    assert with_mpp(twice, None, now) == info
