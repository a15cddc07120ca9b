"""Resumable uploads when something breaks: connections, clients, the gateway itself. Every test ends by a SHA-256."""

import hashlib
import itertools
import os
import shutil
import socket
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from gateway_fixtures import running_gateway
from tus_fixtures import Tus, checksum, error_of, gateway_process, metadata

from server.intake.probe import probe
from server.uploads.records import Part, Upload
from server.uploads.store import UploadStore
from workers.core.settings import Settings
from workers.core.store import Store, new_id

GIB = 2**30


def test_a_chunk_that_was_cut_off_keeps_what_arrived_and_is_gone_on_with_at_once(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), tus_slide[:1000])
    with tus.begin_patch(address, 1000, len(tus_slide) - 1000, tus_slide[1000:2_500_000]):
        tus.wait_for_bytes(address, 1000)
    assert 1000 < tus.offset(address) <= 2_500_000  # no pause: whoever had it lets go in time
    tus.finish(address, tus_slide)


def test_nothing_is_kept_of_a_chunk_with_a_checksum_that_was_cut_off(
    tus: Tus, tus_slide: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.uploads.checkpoints.CHECKPOINT_BYTES", 1)  # as if the chunk were a long one
    address = tus.new(len(tus_slide), tus_slide[:1000])
    rest = tus_slide[1000:]
    with tus.begin_patch(address, 1000, len(rest), rest[:2_000_000], Upload_Checksum=checksum(rest)):
        tus.wait_for_bytes(address, 1000)
    assert tus.offset(address) == 1000
    assert (tus.folder(address) / "data").read_bytes() == tus_slide[:1000]
    tus.finish(address, tus_slide)


def test_of_two_clients_one_is_told_to_wait(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide))
    with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as first:
        tus.wait_for_bytes(address, 0)
        assert error_of(tus.patch(address, 0, b"x" * 1000)) == (423, "upload_locked")
        ended = tus.http.delete(address, headers={"Tus-Resumable": "1.0.0"})
        assert error_of(ended) == (423, "upload_locked")
        assert tus.view(address)["state"] == "uploading"  # whoever only looks is not kept waiting
        first.sendall(tus_slide[2_000_000:])
        assert first.recv(65536).startswith(b"HTTP/1.1 204 ")
    tus.assert_slide(address, tus_slide)


def test_a_second_client_with_an_old_offset_is_told_to_wait_not_that_it_is_wrong(
    tus: Tus, tus_slide: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.uploads.checkpoints.CHECKPOINT_BYTES", 1)
    monkeypatch.setattr("server.uploads.locks.GRACE_S", 0.2)
    address = tus.new(len(tus_slide))
    with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as first:
        tus.wait_for_checkpoint(address, 1)
        assert error_of(tus.patch(address, 0, tus_slide)) == (423, "upload_locked")
        first.sendall(tus_slide[2_000_000:])
        assert first.recv(65536).startswith(b"HTTP/1.1 204 ")
    assert error_of(tus.patch(address, 0, tus_slide)) == (409, "offset_mismatch")
    tus.assert_slide(address, tus_slide)


def test_a_disk_that_fills_up_keeps_what_was_acknowledged(
    tus_settings: Settings, tus_slide: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    careful = tus_settings.model_copy(update={"disk_reserve_bytes": 2**20})
    with running_gateway(careful) as url, (tus := Tus(url, careful)).http:
        address = tus.new(len(tus_slide), tus_slide[:1000])
        with monkeypatch.context() as full:
            full.setattr(
                "workers.core.disk_room.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40, 0)
            )
            assert error_of(tus.patch(address, 1000, tus_slide[1000:])) == (507, "disk_full")
            assert tus.offset(address) == 1000
        tus.finish(address, tus_slide)


def test_parts_that_are_being_written_are_not_joined(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), Upload_Concat="partial")
    with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as writer:
        tus.wait_for_bytes(address, 0)
        assert error_of(tus.create(None, Upload_Concat=f"final;{address}")) == (423, "upload_locked")
        writer.sendall(tus_slide[2_000_000:])
        assert writer.recv(65536).startswith(b"HTTP/1.1 204 ")
    tus.assert_slide(tus.new(None, Upload_Concat=f"final;{address}"), tus_slide)


def test_a_client_that_fell_silent_gives_way(tus_settings: Settings, tus_slide: bytes) -> None:
    """Its connection is still there, as it is when a laptop was closed or an address changed."""
    hasty = tus_settings.model_copy(update={"upload_lease_s": 0.001})
    with running_gateway(hasty) as url, (tus := Tus(url, hasty)).http:
        address = tus.new(len(tus_slide))
        with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as silent:
            tus.wait_for_bytes(address, 0)
            tus.finish(address, tus_slide)
            assert silent.recv(65536).startswith(b"HTTP/1.1 423 ")


def test_an_idle_client_keeps_what_it_sent(tus_settings: Settings, tus_slide: bytes) -> None:
    impatient = tus_settings.model_copy(update={"upload_idle_s": 2})
    with running_gateway(impatient) as url, (tus := Tus(url, impatient)).http:
        address = tus.new(len(tus_slide))
        with tus.begin_patch(address, 0, len(tus_slide), tus_slide[:2_000_000]) as idle:
            assert idle.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert tus.offset(address) == 2_000_000
        tus.finish(address, tus_slide)


def test_a_gateway_killed_in_the_middle_of_a_chunk_forgets_nothing_it_said(
    tmp_path: Path, gateway_queue: str, tus_slide: bytes
) -> None:
    content = tus_slide.ljust(24 * 2**20, b"\0")
    settings = Settings(data_dir=tmp_path / "data", redis_url=gateway_queue, disk_reserve_bytes=0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tus = Tus(f"http://127.0.0.1:{listener.getsockname()[1]}", settings)
        tus.http.timeout = 240
        with gateway_process(settings, listener) as gateway:
            address = tus.new(len(content), content[:1000], Upload_Metadata=metadata(filename="padded.tif"))
            with tus.begin_patch(address, 1000, len(content) - 1000, content[1000 : 20 * 2**20]):
                tus.wait_for_bytes(address, 18 * 2**20)
                tus.wait_for_checkpoint(address, 16 * 2**20)
                gateway.kill()
                gateway.wait()
        stays = (tus.folder(address) / "data").stat().st_size
        with gateway_process(settings, listener) as gateway:
            offset = tus.offset(address)
            assert 16 * 2**20 <= offset <= stays  # a checkpoint on the way was kept
            rest = content[offset:]
            with tus.begin_patch(address, offset, len(rest), rest[:3_000_000], Upload_Checksum=checksum(rest)):
                tus.wait_for_bytes(address, offset)
                gateway.kill()
                gateway.wait()
        with gateway_process(settings, listener):
            assert tus.offset(address) == offset
            tus.finish(address, content)
        tus.http.close()


def test_checks_that_were_cut_off_are_taken_up_at_the_next_start(tus_settings: Settings, tus_slide: bytes) -> None:
    store = Store(tus_settings.data_dir)
    upload_store = UploadStore(store.root / "uploads", tus_settings)
    just_complete, being_probed, half_joined, gone = (checking_upload(tus_slide) for _ in range(4))
    for upload in (just_complete, being_probed, gone):
        upload_store.create(upload)
    upload_store.data_file(just_complete.id).write_bytes(tus_slide)
    upload_store.slide_folder(being_probed.id).mkdir()
    (upload_store.slide_folder(being_probed.id) / "original.tif").write_bytes(tus_slide)
    upload_store.data_file(being_probed.id).unlink()
    upload_store.data_file(gone.id).unlink()

    cuts = (0, 1_000_000, 2_000_000, len(tus_slide))
    parts = tuple(Part(id=new_id(), length=end - start) for start, end in itertools.pairwise(cuts))
    for part, start in zip(parts, cuts, strict=False):
        upload_store.create(half_joined.model_copy(update={"id": part.id, "is_part": True}))
        upload_store.data_file(part.id).write_bytes(tus_slide[start : start + part.length])
    half_joined = half_joined.model_copy(update={"parts": parts, "joined": 1})
    upload_store.create(half_joined)
    folder = upload_store.data_file(half_joined.id).parent
    (folder / "parts" / parts[0].id / "data").rename(folder / "data")
    with (folder / "data").open("ab") as data:
        data.write(b"half of the second part")

    with running_gateway(tus_settings) as url, (tus := Tus(url, tus_settings)).http:
        for upload in (just_complete, being_probed, half_joined):
            tus.assert_slide(f"/v1/uploads/{upload.id}", tus_slide)
        view = tus.ended(f"/v1/uploads/{gone.id}")
        assert (view["state"], view["error"]["code"]) == ("rejected", "upload_incomplete")
        tus.change(f"/v1/uploads/{just_complete.id}", state="checking", slide_id=None)  # killed before it said `ready`
    with running_gateway(tus_settings) as url, (tus := Tus(url, tus_settings)).http:
        tus.assert_slide(f"/v1/uploads/{just_complete.id}", tus_slide)


def test_offsets_past_four_gib(tus: Tus) -> None:
    """A slide whose directory and pixels lie behind 4 GiB of nothing: sparse, so neither sent nor stored.

    It is sent as a part, because the check of a whole upload would read and hash all of the nothing.
    """
    gap = 4 * GIB + 4096
    head, tail = struct.pack("<2sHHHQ", b"II", 43, 8, 0, gap), big_tiff_tail(gap)
    address = tus.new(gap + len(tail), Upload_Concat="partial")
    assert tus.patch(address, 0, head).status_code == 204
    data = tus.folder(address) / "data"
    os.truncate(data, gap - 1000)
    tus.change(address, offset=gap - 1000)
    for piece in (bytes(1000) + tail[:4000], tail[4000:]):
        offset = tus.offset(address)
        checked = {"Upload_Checksum": checksum(piece)}
        assert tus.patch(address, offset, piece, **checked).headers["upload-offset"] == str(offset + len(piece))
    assert tus.offset(address) == data.stat().st_size == gap + len(tail)
    with data.open("rb") as file:
        stored = hashlib.sha256(file.read(len(head)))
        file.seek(gap)
        stored.update(file.read())
    assert stored.hexdigest() == hashlib.sha256(head + tail).hexdigest()
    geometry = probe(data.rename(data.with_suffix(".tif")), tus.settings).geometry
    assert (geometry.l0_width, geometry.l0_height) == (256, 256)


def big_tiff_tail(start: int) -> bytes:
    """What follows `start` bytes of a BigTIFF whose only directory begins there: the directory, then one tile."""
    pixels = np.arange(256 * 256 * 3, dtype=np.uint32).astype(np.uint8).tobytes()
    bits = int.from_bytes(struct.pack("<HHH", 8, 8, 8), "little")
    tags = [(256, 4, 1, 256), (257, 4, 1, 256), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (277, 3, 1, 3)]
    tags += [(322, 4, 1, 256), (323, 4, 1, 256), (324, 16, 1, start + 4096), (325, 16, 1, len(pixels))]
    directory = struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in tags) + bytes(8)
    return directory.ljust(4096, b"\0") + pixels


def checking_upload(content: bytes) -> Upload:
    now = datetime.now(UTC)
    return Upload(
        id=new_id(),
        state="checking",
        length=len(content),
        offset=len(content),
        filename="slide.tif",
        sha256=hashlib.sha256(content).hexdigest(),
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
