"""Resumable uploads over HTTP, header by header, against a real gateway: what is promised and what is refused."""

import hashlib
import itertools
import os
import stat
from pathlib import Path

import httpx
import pytest
from tus_fixtures import CHUNK, Tus, checksum, error_of, metadata

NO_ID = "0" * 32


def test_the_server_says_what_it_speaks(tus: Tus) -> None:
    answer = tus.http.options("/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-max-size"] == str(8 * 2**30)
    assert set(answer.headers["tus-extension"].split(",")) == {
        *("creation", "creation-with-upload", "checksum", "expiration", "termination", "concatenation")
    }
    assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"


@pytest.mark.parametrize("step", [700_001, 2**22])
def test_chunk_after_chunk_becomes_the_slide(tus: Tus, tus_slide: bytes, step: int) -> None:
    said = metadata(filename="../of a colleague/Präparat.tif", sha256=hashlib.sha256(tus_slide).hexdigest())
    address = tus.new(len(tus_slide), Upload_Metadata=said)
    for offset in range(0, len(tus_slide), step):
        assert tus.offset(address) == offset
        assert tus.view(address)["state"] == "uploading"
        answer = tus.patch(address, offset, tus_slide[offset : offset + step])
        assert answer.status_code == 204
        assert answer.headers["upload-offset"] == str(min(offset + step, len(tus_slide)))
    head = tus.http.head(address, headers={"Tus-Resumable": "1.0.0"})
    assert head.headers["upload-length"] == head.headers["upload-offset"] == str(len(tus_slide))
    assert head.headers["upload-metadata"] == said
    tus.assert_slide(address, tus_slide)
    view = tus.view(address)
    assert view["filename"] == "Präparat.tif"
    assert tus.http.get(f"/v1/slides/{view['slide_id']}").json()["filename"] == "Präparat.tif"
    assert tus.http.get("/v1/uploads").json()["items"][0] == view


def test_first_bytes_may_come_with_the_creation(tus: Tus, tus_slide: bytes) -> None:
    answer = tus.create(len(tus_slide), tus_slide[:1000])
    assert answer.status_code == 201
    assert answer.headers["upload-offset"] == "1000"
    tus.finish(answer.headers["location"], tus_slide)


def test_a_whole_slide_may_come_with_the_creation(tus: Tus, tus_slide: bytes) -> None:
    tus.assert_slide(tus.new(len(tus_slide), tus_slide), tus_slide)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_nothing_is_kept_of_a_chunk_with_another_checksum(tus: Tus, tus_slide: bytes, algorithm: str) -> None:
    address = tus.new(len(tus_slide), tus_slide[:1000])
    wrong = tus_slide[1000:2_000_000] + b"?"
    answer = tus.patch(address, 1000, wrong, Upload_Checksum=checksum(tus_slide[1000:2_000_001], algorithm))
    assert error_of(answer) == (460, "checksum_mismatch")
    assert answer.json()["error"]["value"].endswith(hashlib.new(algorithm, wrong).hexdigest())
    assert tus.offset(address) == 1000
    assert (tus.folder(address) / "data").read_bytes() == tus_slide[:1000]
    right = tus_slide[1000:2_000_001]
    answer = tus.patch(address, 1000, right, Upload_Checksum=checksum(right, algorithm))
    assert answer.status_code == 204
    tus.finish(address, tus_slide)


def test_an_upload_whose_first_bytes_are_refused_is_not_made(tus: Tus) -> None:
    before = sorted((tus.settings.data_dir / "uploads").iterdir())
    assert error_of(tus.create(10, b"II*\0", Upload_Checksum=checksum(b"MM\0*"))) == (460, "checksum_mismatch")
    assert error_of(tus.create(2, b"II*\0")) == (413, "upload_too_large")
    assert sorted((tus.settings.data_dir / "uploads").iterdir()) == before


@pytest.mark.parametrize("offset", [0, 999, 1001])
def test_a_chunk_must_begin_where_the_upload_ends(tus: Tus, tus_slide: bytes, offset: int) -> None:
    address = tus.new(len(tus_slide), tus_slide[:1000])
    answer = tus.patch(address, offset, tus_slide[offset:])
    assert error_of(answer) == (409, "offset_mismatch")
    assert answer.json()["error"]["accepted"] == "1000"
    tus.finish(address, tus_slide)


def test_a_last_chunk_that_is_sent_again_by_its_end_changes_nothing(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), tus_slide)
    tus.assert_slide(address, tus_slide)
    assert tus.patch(address, len(tus_slide), b"").status_code == 204
    assert error_of(tus.patch(address, 0, tus_slide)) == (409, "offset_mismatch")
    assert error_of(tus.patch(address, len(tus_slide), b"more")) == (413, "upload_too_large")
    tus.assert_slide(address, tus_slide)


def test_a_chunk_past_the_end_is_refused_before_its_bytes(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), tus_slide[:1000])
    with tus.begin_patch(address, 1000, len(tus_slide), b"") as connection:  # and not one byte of it
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    tus.finish(address, tus_slide)


def test_a_stream_of_unknown_length_is_taken_up_to_the_end_and_no_further(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide))
    headers = {**CHUNK, "Upload-Offset": "0"}
    answer = tus.http.patch(address, headers=headers, content=iter([tus_slide, b"and more"]))
    assert error_of(answer) == (413, "upload_too_large")
    assert tus.offset(address) < len(tus_slide)
    headers["Upload-Offset"] = str(offset := tus.offset(address))
    assert tus.http.patch(address, headers=headers, content=iter([tus_slide[offset:]])).status_code == 204
    tus.assert_slide(address, tus_slide)


def test_an_upload_over_the_cap_is_refused_at_its_creation(tus: Tus) -> None:
    answer = tus.create(8 * 2**30 + 1)
    assert error_of(answer) == (413, "upload_too_large")
    assert answer.json()["error"]["accepted"] == f"at most {8 * 2**30} bytes"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus_Resumable": "0.2.2"}, 412, "version_unsupported"),
        ({"Upload_Length": "-1"}, 400, "header_invalid"),
        ({"Upload_Length": "1e3"}, 400, "header_invalid"),
        ({"Upload_Length": "0"}, 400, "upload_empty"),
        ({"Upload_Defer_Length": "1"}, 400, "header_invalid"),
        ({"Upload_Metadata": "filename !"}, 400, "header_invalid"),
        ({"Upload_Metadata": metadata(filename="a.vmu")}, 422, "invalid_request"),
        ({"Upload_Metadata": metadata(sha256="abc")}, 400, "header_invalid"),
        ({"Upload_Concat": "final;/v1/uploads/x"}, 400, "header_invalid"),
        ({"Upload_Concat": f"final;/v1/uploads/{NO_ID}"}, 400, "header_invalid"),  # and a length
    ],
)
def test_a_creation_that_makes_no_sense_is_refused(tus: Tus, headers: dict[str, str], status: int, code: str) -> None:
    answer = tus.create(10, **headers)
    assert error_of(answer) == (status, code)
    assert answer.headers["tus-version"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus_Resumable": "2"}, 412, "version_unsupported"),
        ({"Content_Type": "application/octet-stream"}, 415, "body_unsupported"),
        ({"Upload_Offset": "+0"}, 400, "header_invalid"),
        ({"Upload_Checksum": "md5 AAAA"}, 400, "header_invalid"),
        ({"Upload_Checksum": "sha256 AAAA"}, 400, "header_invalid"),
    ],
)
def test_a_chunk_that_makes_no_sense_is_refused(tus: Tus, headers: dict[str, str], status: int, code: str) -> None:
    address = tus.new(4)
    assert error_of(tus.patch(address, 0, b"II*\0", **headers)) == (status, code)
    assert tus.offset(address) == 0


def test_a_body_of_another_type_makes_no_upload(tus: Tus) -> None:
    assert error_of(tus.create(4, b"II*\0", Content_Type="text/plain")) == (415, "body_unsupported")


@pytest.mark.parametrize("name", [NO_ID, "x", "..%2f..%2finfo.json"])
def test_what_is_no_upload_is_not_found(tus: Tus, name: str) -> None:
    for method in ("PATCH", "DELETE", "HEAD", "GET"):
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        answer = tus.http.request(method, f"/v1/uploads/{name}", headers=headers)
        assert answer.status_code == 404


def test_an_expired_upload_is_gone_and_says_so(tus: Tus, tus_slide: bytes) -> None:
    answer = tus.create(len(tus_slide), tus_slide[:1000])
    assert answer.headers["upload-expires"].endswith(" GMT")
    address = answer.headers["location"]
    tus.age(address, 1)
    assert error_of(tus.patch(address, 1000, tus_slide[1000:])) == (410, "upload_expired")
    assert tus.http.head(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 410
    assert tus.http.get(address).status_code == 410
    assert tus.http.delete(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 410
    assert address.rpartition("/")[2] not in tus.http.get("/v1/uploads").text


def test_an_upload_that_is_ended_leaves_nothing(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), tus_slide[:1000])
    assert tus.http.delete(address).status_code == 412
    assert tus.http.delete(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert tus.http.head(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 404
    assert not tus.folder(address).exists()


def test_the_slide_outlives_the_upload_it_came_from(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide), tus_slide)
    tus.assert_slide(address, tus_slide)
    slide_id = tus.view(address)["slide_id"]
    assert tus.http.delete(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    assert tus.http.get(f"/v1/slides/{slide_id}").status_code == 200


def test_parts_are_joined_in_the_order_said(tus: Tus, tus_slide: bytes) -> None:
    cuts = [0, 1_100_000, 1_100_001, len(tus_slide)]
    pieces = [tus_slide[start:end] for start, end in itertools.pairwise(cuts)]
    parts = {number: tus.new(len(pieces[number]), Upload_Concat="partial") for number in (2, 0, 1)}
    for number in (1, 2, 0):
        assert tus.patch(parts[number], 0, pieces[number]).status_code == 204
        assert tus.view(parts[number])["state"] == "uploading"
    assert tus.http.get("/v1/uploads").text.count(parts[0].rpartition("/")[2]) == 0
    said = f"final;{tus.url}{parts[0]} {parts[1]} {parts[2]}"
    address = tus.new(None, Upload_Concat=said, Upload_Metadata=metadata(filename="joined.tif"))
    assert error_of(tus.patch(address, 0, b"II*\0")) == (403, "upload_joined")
    head = tus.http.head(address, headers={"Tus-Resumable": "1.0.0"})
    assert head.headers["upload-concat"] == f"final;{parts[0]} {parts[1]} {parts[2]}"
    assert head.headers["upload-length"] == str(len(tus_slide))
    tus.assert_slide(address, tus_slide)
    assert [tus.http.get(part).status_code for part in parts.values()] == [404, 404, 404]


def test_only_complete_parts_are_joined_and_the_others_stay(tus: Tus) -> None:
    whole, half = tus.new(4, b"II*\0", Upload_Concat="partial"), tus.new(4, b"II", Upload_Concat="partial")
    single = tus.new(4, b"II")
    assert tus.http.head(half, headers={"Tus-Resumable": "1.0.0"}).headers["upload-concat"] == "partial"
    for other, refusal in (
        (half, (409, "upload_unfinished")),
        (single, (400, "header_invalid")),
        (f"/v1/uploads/{NO_ID}", (404, "upload_not_found")),
        (whole, (400, "header_invalid")),
    ):
        assert error_of(tus.create(None, Upload_Concat=f"final;{whole} {other}")) == refusal
    assert [tus.offset(part) for part in (whole, half, single)] == [4, 2, 2]


@pytest.mark.parametrize(
    ("content", "said", "code"),
    [
        (b"Dear pathologist,\n" * 99, {"filename": "a.svs"}, "slide_unreadable"),
        (b"Dear pathologist,\n" * 99, {}, "invalid_request"),
        (b"II*\0" * 99, {"filename": "a.tif", "sha256": "0" * 64}, "invalid_request"),
    ],
)
def test_what_is_no_slide_is_rejected_and_stays_visible(
    tus: Tus, content: bytes, said: dict[str, str], code: str
) -> None:
    address = tus.new(len(content), content, Upload_Metadata=metadata(**said))
    view = tus.ended(address)
    assert (view["state"], view["error"]["code"], view["slide_id"]) == ("rejected", code, None)
    assert view["error"]["message"].endswith(".")
    assert str(tus.settings.data_dir) not in str(view)
    assert view in tus.http.get("/v1/uploads").json()["items"]
    tus.assert_no_bytes(address)


def test_methods_may_be_said_in_a_header(tus: Tus, tus_slide: bytes) -> None:
    address = tus.new(len(tus_slide))
    headers = {"X-HTTP-Method-Override": "PATCH", "Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    headers["Content-Type"] = "application/offset+octet-stream"
    assert tus.http.post(address, headers=headers, content=tus_slide).status_code == 204
    tus.assert_slide(address, tus_slide)


def test_an_acknowledged_byte_is_on_the_disk(tus: Tus, tus_slide: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an answer says is never more than what had been synced when it was given; the order is looked at."""
    address = tus.new(len(tus_slide))
    data, info = tus.folder(address) / "data", tus.folder(address) / "info.json"
    order: list[tuple[str, int]] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and data.exists() and os.path.samestat(status, data.stat()):
            order.append(("synced", status.st_size))

    def replace(source: Path, target: Path) -> Path:
        if target == info:
            order.append(("said", int(httpx.Response(200, content=source.read_bytes()).json()["offset"])))
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    answer = tus.patch(address, 0, tus_slide[:2_500_000])
    assert answer.headers["upload-offset"] == "2500000"
    assert order == [("synced", 2_500_000), ("said", 2_500_000)]
    monkeypatch.undo()
    tus.finish(address, tus_slide)
