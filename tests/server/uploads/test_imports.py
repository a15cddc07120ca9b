"""The server fetches a slide itself: only from where the operator allows, within limits, and then like any upload."""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gateway_fixtures import GatewayWith
from https_files import CONNECTOR, SECRET, Files
from tus_fixtures import CHUNK, Tus

from server.uploads import imports
from server.uploads.store import UploadStore
from workers.core.settings import Settings

Elsewhere = tuple[str, type[Files]]


@pytest.fixture
def content(made_slide: Callable[..., Path]) -> bytes:
    return made_slide(np.random.default_rng(2).integers(0, 256, (400, 300, 3), np.uint8)).read_bytes()


@pytest.fixture
def settings(gateway_settings: Settings, elsewhere: Elsewhere, tmp_path: Path) -> Settings:
    connectors = tmp_path / "connectors.toml"
    connectors.write_text(
        CONNECTOR.format(host=elsewhere[0], secret=SECRET, private="true", tenants="[]")
        + CONNECTOR.format(host=elsewhere[0], secret=SECRET, private="false", tenants="[]").replace(
            "archive", "outside"
        )
    )
    allowed = {"import_hosts": elsewhere[0], "import_private": True, "import_connectors": connectors}
    return gateway_settings.model_copy(update=allowed)


@contextmanager
def tus_of(gateway_with: GatewayWith, settings: Settings) -> Iterator[Tus]:
    """Run a gateway with these settings, and speak with it."""
    with gateway_with(settings) as url:
        tus = Tus(url, settings)
        with tus.http:
            yield tus


@pytest.fixture
def tus(settings: Settings, gateway_with: GatewayWith) -> Iterator[Tus]:
    with tus_of(gateway_with, settings) as made:
        yield made


def ask(tus: Tus, **upload_request: Any) -> httpx.Response:
    return tus.http.post("/v1/imports", json=upload_request)


def settled(tus: Tus, answer: httpx.Response) -> dict[str, Any]:
    """The upload that came of it, once it is neither being fetched nor checked."""
    assert answer.status_code == 201, answer.text
    address = answer.headers["location"]
    assert address == f"/v1/uploads/{answer.json()['id']}"
    for _ in range(600):
        view = tus.ended(address)
        if view["state"] != "uploading":
            return view
        time.sleep(0.05)
    raise AssertionError(view)


def refusal(answer: httpx.Response, code: str = "import_refused", status: int = 422) -> str:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return str(answer.json()["error"]["message"])


def test_a_slide_is_fetched_and_is_a_slide(tus: Tus, elsewhere: Elsewhere, content: bytes) -> None:
    host, server = elsewhere
    server.files["/cases/a%20b.tif?key=hush"] = content
    digest = hashlib.sha256(content).hexdigest()
    answer = ask(tus, url=f"https://{host}/cases/a%20b.tif?key=hush", sha256=digest)
    assert answer.json()["source"] == f"https://{host}/cases/a%20b.tif"  # the key in the query is nobody's business
    view = settled(tus, answer)
    assert (view["state"], view["error"], view["filename"], view["length"]) == ("ready", None, "a b.tif", len(content))
    assert tus.http.get(f"/v1/slides/{view['slide_id']}").json()["sha256"] == digest
    ((path, headers),) = server.asked
    assert path == "/cases/a%20b.tif?key=hush"
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & set(headers)
    tus.assert_no_bytes(answer.headers["location"])
    assert b"hush" not in b"".join(path.read_bytes() for path in tus.settings.data_dir.rglob("*.json"))


def test_what_was_fetched_is_checked_like_any_upload(tus: Tus, elsewhere: Elsewhere, content: bytes) -> None:
    host, server = elsewhere
    server.files |= {"/a.tif": b"no slide", "/b.tif": content}
    assert settled(tus, ask(tus, url=f"https://{host}/a.tif"))["error"]["code"] == "slide_unreadable"
    assert settled(tus, ask(tus, url=f"https://{host}/b.tif", sha256="0" * 64))["error"]["code"] == "invalid_request"
    server.files["/c.mrxs"] = content
    refusal(ask(tus, url=f"https://{host}/c.mrxs"), "slide_set_incomplete")
    refusal(ask(tus, url=f"https://{host}/huge"), "upload_too_large", 413)
    server.files["/empty.tif"] = b""
    refusal(ask(tus, url=f"https://{host}/empty.tif"), "upload_empty", 400)


def test_an_answer_that_is_no_file_is_refused(tus: Tus, elsewhere: Elsewhere) -> None:
    elsewhere[1].files["/good.tif"] = b"x"
    answers = {
        "redirect": "redirects are not followed",
        "missing.tif": "another status",
        "endless": "how long",
        "packed": "encoded",
    }
    for path, words in answers.items():
        assert words in refusal(ask(tus, url=f"https://{elsewhere[0]}/{path}"))
    assert [asked for asked, _ in elsewhere[1].asked] == [f"/{path}" for path in answers]
    assert tus.http.get("/v1/uploads").json()["items"] == []


def test_a_file_that_ends_before_its_end_is_refused(tus: Tus, elsewhere: Elsewhere) -> None:
    answer = ask(tus, url=f"https://{elsewhere[0]}/short.tif")
    view = settled(tus, answer)
    assert (view["state"], view["error"]["code"]) == ("rejected", "import_refused")
    tus.assert_no_bytes(answer.headers["location"])


def test_fetching_has_its_time(settings: Settings, gateway_with: GatewayWith, elsewhere: Elsewhere) -> None:
    short = settings.model_copy(update={"import_timeout_s": 0.5})
    with tus_of(gateway_with, short) as tus:
        view = settled(tus, ask(tus, url=f"https://{elsewhere[0]}/slow.tif"))
    assert "0.5 seconds" in view["error"]["message"]


def test_nobody_else_adds_to_what_is_fetched_and_a_stop_is_told(
    settings: Settings, gateway_with: GatewayWith, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 1)
    with tus_of(gateway_with, settings) as tus:
        address = ask(tus, url=f"https://{elsewhere[0]}/slow.tif").headers["location"]
        sent = tus.http.patch(address, headers=CHUNK | {"Upload-Offset": "0"}, content=b"x")
        assert (sent.status_code, sent.json()["error"]["code"]) == (403, "upload_joined")
        refusal(ask(tus, url=f"https://{elsewhere[0]}/slow.tif"), "unavailable", 503)
        assert tus.view(address)["state"] == "uploading"
    with tus_of(gateway_with, settings) as tus:
        view = tus.view(address)
    assert view["state"] == "rejected"
    assert "stopped" in view["error"]["message"]
    assert UploadStore(settings.data_dir / "uploads", settings).data_file(view["id"]).exists() is False


def test_an_import_that_is_removed_ends_and_leaves_nothing(
    settings: Settings, gateway_with: GatewayWith, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 1)
    with tus_of(gateway_with, settings) as tus:
        for _ in range(2):  # the second one finds the place free
            address = ask(tus, url=f"https://{elsewhere[0]}/slow.tif").headers["location"]
            assert tus.view(address)["state"] == "uploading"
            assert tus.http.delete(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 204
            assert tus.http.get(address).status_code == 404
    assert list((settings.data_dir / "uploads").glob("*/data")) == []


# --- where from -------------------------------------------------------------------------------------------------------


def test_it_is_off_until_the_operator_allows_a_host(gateway: httpx.Client) -> None:
    answer = gateway.post("/v1/imports", json={"url": "https://slides.example/a.svs"})
    assert "fetches nothing" in refusal(answer)
    assert "no connector" in refusal(gateway.post("/v1/imports", json={"connector": "archive", "key": "a.svs"}))


def test_a_wish_is_one_of_two(gateway: httpx.Client) -> None:
    url: dict[str, object] = {"url": "https://a.example/a.svs"}
    wishes: list[dict[str, object]] = [{}, {"key": "a"}, {"connector": "archive"}, {"connector": "../x", "key": "a"}]
    wishes += [
        url | {"connector": "archive", "key": "a"},
        url | {"key": "a"},
        url | {"sha256": "no"},
        url | {"more": 1},
    ]
    for upload_request in wishes:
        refusal(gateway.post("/v1/imports", json=upload_request), "invalid_request")


def test_other_addresses_are_refused(tus: Tus, elsewhere: Elsewhere) -> None:
    for url in (
        *("http://localhost/a.svs", "file:///etc/passwd", "https://elsewhere.example/a.svs"),
        *(f"https://user:word@{elsewhere[0]}/a.svs", f"https://{elsewhere[0]}@evil.example/a.svs"),
        *("https://localhost:1/a.svs", "https://127.0.0.1/a.svs", "https://[::1]/a.svs"),
    ):
        refusal(ask(tus, url=url))
    assert elsewhere[1].asked == []


def test_the_address_of_an_allowed_name_is_checked_when_it_is_called(
    settings: Settings, gateway_with: GatewayWith, elsewhere: Elsewhere
) -> None:
    public = settings.model_copy(update={"import_private": False})
    with gateway_with(public) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert "not public" in refusal(client.post("/v1/imports", json={"url": f"https://{elsewhere[0]}/a.tif"}))
        upload_request = {"connector": "outside", "key": "a.tif"}
        assert "not public" in refusal(client.post("/v1/imports", json=upload_request))
    assert elsewhere[1].asked == []


def test_a_certificate_of_somebody_else_is_refused(
    tus: Tus, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "does not answer" in refusal(ask(tus, url=f"https://{elsewhere[0]}/a.tif"))
    assert elsewhere[1].asked == []


# --- buckets ----------------------------------------------------------------------------------------------------------


def expected_signature(path: str, query: str, host: str, secret: str) -> str:
    """Signature Version 4 of an address, by its description: canonical request → string to sign → chain of keys."""
    fields = dict(part.split("=", 1) for part in query.split("&"))
    signed = "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "X-Amz-Signature")
    canonical = "\n".join(["GET", path, signed, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    moment = fields["X-Amz-Date"]
    scope = f"{moment[:8]}/eu-central-1/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_a_slide_is_fetched_from_a_bucket_with_a_signature(tus: Tus, elsewhere: Elsewhere, content: bytes) -> None:
    path = "/slides/research/2024/case%207%2B.tif"
    elsewhere[1].files[path] = content
    answer = ask(tus, connector="archive", key="2024/case 7+.tif")
    view = settled(tus, answer)
    assert (view["state"], view["filename"], view["source"]) == ("ready", "case 7+.tif", "archive:2024/case 7+.tif")
    ((asked, headers),) = elsewhere[1].asked
    asked_path, _, query = asked.partition("?")
    assert asked_path == path
    assert "X-Amz-Credential=AKIDEXAMPLE%2F" in query
    assert query.endswith(f"X-Amz-Signature={expected_signature(path, query, headers['host'], SECRET)}")
    assert SECRET not in answer.text + str(headers) + asked
    assert "X-Amz" not in answer.text + str(view)
