"""What one tenant may announce, against a slow literal version, and how long what is only announced stays."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.uploads.records import Upload
from server.uploads.shares import Share
from server.uploads.store import UploadStore
from workers.core.errors.access import UploadsExceeded
from workers.core.settings import Settings
from workers.core.store import new_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=1)


def upload_of(tenant: str, length: int, **fields: object) -> Upload:
    made = Upload(id=new_id(), tenant=tenant, length=length, filename="a.tif", created_at=NOW, expires_at=LATER)
    return made.model_copy(update=fields)


def is_taken(share: Share, upload: Upload, known: list[Upload], room_bytes: int) -> bool:
    try:
        share.check(upload, known, room_bytes)
    except UploadsExceeded:
        return False
    return True


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 400)), max_size=60),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.integers(100, 2000),
)
def test_whatever_others_announce_a_new_tenant_has_room(
    asked: list[tuple[str, int]], part: float, room_bytes: int
) -> None:
    share, known = Share(part, 1000), list[Upload]()
    for tenant, length in asked:
        new = upload_of(tenant, length)
        announced = dict.fromkeys("abcdef", 0)
        for other in known:
            announced[other.tenant] += other.length
        left = room_bytes - sum(held for name, held in announced.items() if name != tenant)
        fits = announced[tenant] + length <= int(part * left)
        assert is_taken(share, new, known, room_bytes) == fits
        known += [new] if fits else []
    left = room_bytes - sum(other.length for other in known)
    assert left >= int((1 - part) ** 6 * room_bytes)
    assert is_taken(share, upload_of("new", max(1, int(part * left))), known, room_bytes) == (int(part * left) >= 1)


def test_what_has_come_or_expired_or_become_a_slide_is_no_announcement() -> None:
    share = Share(0.5, 1000)
    known = [
        upload_of("a", 90, offset=90, state="checking"),
        upload_of("a", 90, offset=60),
        upload_of("a", 90, expires_at=NOW),
        upload_of("a", 90, offset=90, state="ready"),
        upload_of("a", 90, state="rejected"),
    ]
    assert is_taken(share, upload_of("a", 20), known, 100)
    with pytest.raises(UploadsExceeded) as caught:
        share.check(upload_of("a", 21), known, 100)
    assert (caught.value.value, caught.value.accepted) == (
        "30 bytes announced, 21 more wanted",
        "at most 50 bytes at once",
    )


def test_small_uploads_are_counted_by_number_as_well() -> None:
    share = Share(1, 3)
    known = [upload_of("a", 1), upload_of("a", 1, offset=1, state="rejected"), upload_of("b", 1)]
    known += [upload_of("a", 1, offset=1, state="ready"), upload_of("a", 1, expires_at=NOW)]
    share.check(upload_of("a", 1), known, 100)
    known.append(upload_of("a", 1, offset=1, state="checking"))
    with pytest.raises(UploadsExceeded) as caught:
        share.check(upload_of("a", 1), known, 100)
    assert caught.value.accepted == "at most 3 that are no slide yet"
    share.check(upload_of("b", 1), known, 100)


def test_an_upload_of_which_no_byte_came_ends_early_and_with_its_record(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, disk_reserve_bytes=0, upload_empty_s=60, upload_expires_s=6000)
    uploads = UploadStore(tmp_path / "uploads", settings)
    lives = [(each - datetime.now(UTC)).total_seconds() for each in (uploads.empty_expiry(), uploads.new_expiry())]
    assert lives == pytest.approx([60, 6000], abs=5)
    past = datetime.now(UTC) - timedelta(seconds=100)
    empty, begun = upload_of("a", 10, expires_at=past), upload_of("a", 10, offset=4, expires_at=past)
    for upload in (empty, begun):
        uploads.create(upload)
        uploads.expire(upload.id)
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [begun.id]
    longer = UploadStore(tmp_path / "uploads", settings.model_copy(update={"upload_expires_s": 30}))
    assert longer.empty_expiry() < datetime.now(UTC) + timedelta(seconds=31)
