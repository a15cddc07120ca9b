"""Uploads against a real server on loopback: what is accepted, what is refused, and that nothing of it stays."""

import base64
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest

from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.store import Store

FILE_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.tif"\r\n\r\nabc\r\n'
GatewayWith = Callable[[Settings], AbstractContextManager[str]]


@pytest.fixture
def store(gateway: httpx.Client, gateway_settings: Settings) -> Store:
    """The data folder of `gateway`."""
    return Store(gateway_settings.data_dir)


@pytest.fixture(scope="session")
def slide_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small tiled TIFF that says 0.5 µm/px."""
    import tifffile

    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    pixels = np.random.default_rng(7).integers(0, 255, (600, 500, 3), dtype=np.uint8)
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", resolution=(20_000, 20_000), resolutionunit="centimeter"
    )
    return path.read_bytes()


def assert_refused(answer: httpx.Response, status: int, code: str, store: Store) -> dict[str, str | None]:
    """Check the answer, that nothing stays on the disk, and return what is under `error`."""
    assert answer.status_code == status, answer.text
    body: dict[str, str | None] = answer.json()["error"]
    assert body["code"] == code
    assert leftovers(store) == []
    return body


def leftovers(store: Store) -> list[str]:
    """Files and folders of slides and uploads in the data folder. What goes while it is looked at is no error."""
    return [
        os.path.relpath(Path(folder) / entry, store.root)
        for name in ("slides", "incoming", "trash")
        for folder, folders, files in os.walk(store.root / name)
        for entry in (*folders, *files)
    ]


def wait_until_nothing_stays(store: Store) -> None:
    """Wait for the server to notice that a client is gone."""
    deadline = time.monotonic() + 15
    while leftovers(store) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert leftovers(store) == []


def put(gateway: httpx.Client, content: bytes, filename: str = "slide.tif", **headers: str) -> httpx.Response:
    return gateway.put("/v1/slides", params={"filename": filename}, content=content, headers=headers)


def test_both_ways_store_the_same_bytes(gateway: httpx.Client, store: Store, slide_bytes: bytes) -> None:
    raw = put(gateway, slide_bytes)
    form = gateway.post("/v1/slides", files={"file": ("slide.tif", slide_bytes)})
    assert raw.status_code == form.status_code == 201, (raw.text, form.text)
    first, second = SlideInfo.model_validate(raw.json()), SlideInfo.model_validate(form.json())
    assert first.id != second.id
    assert first.sha256 == second.sha256 == hashlib.sha256(slide_bytes).hexdigest()
    assert first.size_bytes == second.size_bytes == len(slide_bytes)
    assert first.filename == second.filename == "slide.tif"
    assert store.slide_file(first.id).read_bytes() == store.slide_file(second.id).read_bytes() == slide_bytes
    assert raw.headers["location"] == f"/v1/slides/{first.id}"
    assert gateway.get(raw.headers["location"]).json() == raw.json()
    assert [item["id"] for item in gateway.get("/v1/slides").json()["items"]] == [second.id, first.id]


def test_what_was_accepted_tells_its_geometry(gateway: httpx.Client, slide_bytes: bytes) -> None:
    geometry = SlideInfo.model_validate(put(gateway, slide_bytes).json()).geometry
    assert (geometry.l0_width, geometry.l0_height) == (500, 600)
    assert (geometry.mpp_x, geometry.mpp_y) == pytest.approx((0.5, 0.5))


def test_a_real_slide_is_accepted(gateway: httpx.Client, cmu_slide: Path, store: Store) -> None:
    with cmu_slide.open("rb") as file:
        answer = gateway.post("/v1/slides", files={"file": (cmu_slide.name, file)})
    info = SlideInfo.model_validate(answer.json())
    assert info.sha256 == "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
    assert (info.vendor, info.geometry.l0_width, info.geometry.l0_height) == ("aperio", 2220, 2967)
    assert store.slide_file(info.id).name == "original.svs"


def test_a_name_with_a_path_is_stored_without_it(gateway: httpx.Client, store: Store, slide_bytes: bytes) -> None:
    info = SlideInfo.model_validate(put(gateway, slide_bytes, "../../etc/évil\n.TIFF").json())
    assert info.filename == "évil.TIFF"
    assert store.slide_file(info.id).name == "original.tiff"


def test_a_slide_without_a_name_gets_its_extension_from_its_bytes(
    gateway: httpx.Client, store: Store, slide_bytes: bytes
) -> None:
    answer = gateway.put("/v1/slides", content=slide_bytes)
    assert answer.status_code == 201, answer.text
    assert answer.json()["filename"] == "slide"
    assert store.slide_file(answer.json()["id"]).name == "original.tif"


def test_chunked_bodies_of_unknown_length_are_taken(gateway: httpx.Client, slide_bytes: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(slide_bytes), 999):
            yield slide_bytes[start : start + 999]

    answer = gateway.put("/v1/slides", params={"filename": "slide.tif"}, content=pieces())
    assert answer.json()["sha256"] == hashlib.sha256(slide_bytes).hexdigest()


def test_the_right_digest_is_accepted_and_others_are_passed_over(gateway: httpx.Client, slide_bytes: bytes) -> None:
    assert put(gateway, slide_bytes, **{"Repr-Digest": repr_digest(slide_bytes)}).status_code == 201
    assert put(gateway, slide_bytes, **{"Repr-Digest": "md5=:AAAA:"}).status_code == 201


@pytest.mark.parametrize("way", ["raw", "form"])
def test_a_text_file_with_a_slides_name_is_refused(gateway: httpx.Client, store: Store, way: str) -> None:
    text = b"Dear pathologist,\n" * 1000
    answer = (
        put(gateway, text, "a.svs") if way == "raw" else gateway.post("/v1/slides", files={"file": ("a.svs", text)})
    )
    body = assert_refused(answer, 422, "slide_unreadable", store)
    assert str(store.root) not in str(body)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_slide_is_refused(gateway: httpx.Client, store: Store, cmu_slide: Path, share: float) -> None:
    content = cmu_slide.read_bytes()
    answer = put(gateway, content[: int(len(content) * share)], "cut.svs")
    assert_refused(answer, 422, "slide_unreadable", store)


def test_a_lone_file_of_a_dicom_series_is_refused(gateway: httpx.Client, store: Store, shared_data: Path) -> None:
    path = shared_data / "wsi" / "cmu_sm_3236x2638.dcm"
    if not path.is_file():
        pytest.skip("no DICOM file in the data folder")
    assert_refused(put(gateway, path.read_bytes(), path.name), 422, "slide_unreadable", store)


@pytest.mark.parametrize("way", ["raw", "form"])
def test_a_claim_over_the_cap_is_refused_before_the_bytes(gateway: httpx.Client, store: Store, way: str) -> None:
    with connection(gateway) as client:
        client.sendall(request_head("PUT" if way == "raw" else "POST", 10 * 2**30))
        answer = client.recv(65536)  # and not one byte of the body was sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"upload_too_large"' in answer
    assert f"{10 * 2**30} bytes".encode() in answer
    assert b"connection: close" in answer
    assert leftovers(store) == []


def test_a_client_that_sends_on_still_reads_the_refusal(gateway: httpx.Client) -> None:
    with connection(gateway) as client:
        client.sendall(
            request_head("PUT", 10 * 2**30) + b"x" * (16 * 2**20)
        )  # a closed connection would break this, or lose the answer
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_bytes_over_the_cap_are_refused_where_no_length_was_claimed(gateway: httpx.Client, store: Store) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(65):
            yield b"II*\0" * 2**18

    answer = gateway.put("/v1/slides", params={"filename": "a.tif"}, content=endless())
    assert_refused(answer, 413, "upload_too_large", store)


@pytest.mark.parametrize("way", ["raw", "form", "chunked"])
def test_an_empty_upload_is_refused(gateway: httpx.Client, store: Store, way: str) -> None:
    if way == "form":
        answer = gateway.post("/v1/slides", files={"file": ("a.svs", b"")})
    else:
        content: bytes | Iterator[bytes] = b"" if way == "raw" else iter(())
        answer = gateway.put("/v1/slides", params={"filename": "a.svs"}, content=content)
    assert_refused(answer, 400, "upload_empty", store)


@pytest.mark.parametrize("way", ["raw", "form"])
def test_nothing_stays_of_a_client_that_disconnects_half_way(
    gateway: httpx.Client, store: Store, slide_bytes: bytes, way: str
) -> None:
    head = FILE_PART[:-5] if way == "form" else b""
    with connection(gateway) as client:
        client.sendall(request_head("POST" if way == "form" else "PUT", len(slide_bytes) * 2) + head + slide_bytes)
        deadline = time.monotonic() + 15
        while not leftovers(store) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert leftovers(store)  # it has begun to take it
    wait_until_nothing_stays(store)


def test_an_idle_client_is_dropped(gateway_settings: Settings, gateway_with: GatewayWith, store: Store) -> None:
    impatient = gateway_settings.model_copy(update={"upload_idle_s": 0.2})
    with gateway_with(impatient) as url, connection(httpx.Client(base_url=url)) as client:
        client.sendall(request_head("PUT", 9) + b"abc")
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"upload_incomplete"' in answer
    assert leftovers(store) == []


@pytest.mark.parametrize("way", ["raw", "form"])
def test_a_wrong_digest_is_refused(gateway: httpx.Client, store: Store, slide_bytes: bytes, way: str) -> None:
    headers = {"Repr-Digest": repr_digest(b"other bytes")}
    if way == "raw":
        answer = put(gateway, slide_bytes, **headers)
    else:
        answer = gateway.post("/v1/slides", files={"file": ("a.tif", slide_bytes)}, headers=headers)
    body = assert_refused(answer, 422, "invalid_request", store)
    assert body["value"] == hashlib.sha256(slide_bytes).hexdigest()
    assert body["accepted"] == hashlib.sha256(b"other bytes").hexdigest()


def test_sets_of_files_that_are_never_taken_are_refused_by_their_name(
    gateway: httpx.Client, store: Store, slide_bytes: bytes
) -> None:
    body = assert_refused(put(gateway, slide_bytes, "a.VMS"), 422, "invalid_request", store)
    assert ".svs" in str(body["accepted"])
    assert "sets of files" in str(body["message"])


def test_a_full_disk_is_told_before_the_bytes(
    gateway_settings: Settings, gateway_with: GatewayWith, store: Store, slide_bytes: bytes
) -> None:
    full = gateway_settings.model_copy(update={"disk_reserve_bytes": 2**60})
    with gateway_with(full) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert_refused(put(client, slide_bytes), 507, "disk_full", store)


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary at all",
        b'--b\r\nContent-Disposition: form-data; name="other"; filename="a.tif"\r\n\r\nabc\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 70_000 + b"\r\n" + FILE_PART + b"--b--\r\n",
        FILE_PART * 2 + b"--b--\r\n",
    ],
    ids=["garbage", "other name", "no filename", "large field", "two files"],
)
def test_a_form_that_is_none_is_refused(gateway: httpx.Client, store: Store, body: bytes) -> None:
    answer = gateway.post("/v1/slides", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert_refused(answer, 422, "invalid_request", store)


def test_json_is_no_form(gateway: httpx.Client, store: Store) -> None:
    assert_refused(gateway.post("/v1/slides", json={"file": "a.svs"}), 422, "invalid_request", store)


def test_a_form_without_its_closing_boundary_is_incomplete(
    gateway: httpx.Client, store: Store, slide_bytes: bytes
) -> None:
    body = FILE_PART[:-5] + slide_bytes
    answer = gateway.post("/v1/slides", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert_refused(answer, 400, "upload_incomplete", store)


def test_what_a_killed_server_left_behind_is_swept_at_start(
    gateway_settings: Settings, gateway_with: GatewayWith, store: Store
) -> None:
    (store.root / "incoming" / "dead").mkdir()
    (store.root / "incoming" / "dead" / "upload.part").write_bytes(b"half")
    with gateway_with(gateway_settings):
        assert leftovers(store) == []


def repr_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def connection(client: httpx.Client) -> socket.socket:
    """Open a bare connection to the server of `client`."""
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30)


def request_head(method: str, length: int) -> bytes:
    """Return the head of an upload that claims `length` bytes."""
    query = "?filename=a.tif" if method == "PUT" else ""  # a form names its file itself
    return (
        f"{method} /v1/slides{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()
