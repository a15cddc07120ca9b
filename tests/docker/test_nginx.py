"""The gateway behind a real nginx with the shipped file: uploads stream, events leave at once, words get through."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from dockerfiles import ROOT
from gateway_fixtures import GatewayWith
from https_files import make_certificate
from queue_fixtures import running
from tus_fixtures import CHUNK, WAIT_S, Tus, checksum, error_of, metadata
from wanted import program

from server.access.keys import Keys
from workers.core.frozen import LOCAL_TENANT
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings

NAME = "slides.example"
BELOW = "/lab/wsi"
SHIPPED = ROOT / "docker" / "nginx.conf"
AROUND = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def configuration(folder: Path, gateway_url: str, port: int, location: str, *, strips: bool) -> Path:
    """The shipped file with this machine's addresses and certificate, and what nginx wants around it.

    Args:
        folder: Where it is written.
        gateway_url: Where the gateway is.
        port: For https.
        location: What stands in the place of `location / {`.
        strips: Whether the path of the location is taken off.
    """
    key, certificate = make_certificate(folder, NAME)
    text = SHIPPED.read_text()
    for old, new in {
        "location / {": location,
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "http://127.0.0.1:8000;": f"{gateway_url}{'/' if strips else ''};",
        "/etc/ssl/slides.example/fullchain.pem": str(certificate),
        "/etc/ssl/slides.example/privkey.pem": str(key),
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(AROUND.format(folder=folder, server=text))
    return path


@pytest.fixture
def behind(jobs: Jobs, gateway_with: GatewayWith, tmp_path: Path) -> Iterator[Tus]:
    """A client that reaches a gateway through nginx alone, by https and under another name."""
    with nginx_before(jobs.settings, gateway_with, tmp_path, "location / {") as tus:
        yield tus


@pytest.fixture(params=[True, False], ids=["stripped", "kept"])
def below(
    request: pytest.FixtureRequest, jobs: Jobs, gateway_with: GatewayWith, tmp_path: Path, repo_root: Path
) -> Iterator[Tus]:
    """The same below a path, as docs/deploy.md has it: nginx takes the path off or leaves it on, and is believed."""
    settings = jobs.settings.model_copy(update={"root_path": BELOW, "trusted_proxies": "127.0.0.1"})
    told = re.findall(
        r"^proxy_set_header X-Forwarded-.*;", (repo_root / "docs" / "deploy.md").read_text(), re.MULTILINE
    )
    assert len(told) == 4
    location = "\n".join([f"location {BELOW}/ {{", *told])
    with nginx_before(settings, gateway_with, tmp_path, location, strips=request.param) as tus:
        yield tus


@contextmanager
def nginx_before(
    settings: Settings, gateway_with: GatewayWith, tmp_path: Path, location: str, *, strips: bool = False
) -> Iterator[Tus]:
    """A gateway, and a client that reaches it through nginx, which has this location."""
    nginx = program("nginx")
    settings = settings.model_copy(update={"allowed_hosts": NAME, "disk_reserve_bytes": 0, "upload_max_bytes": 2**30})
    folder = tmp_path / "nginx"
    folder.mkdir()
    port = free_port()
    key = Keys(settings.data_dir).create("behind", LOCAL_TENANT, ("read", "submit"))[1]
    with gateway_with(settings) as url:
        path = configuration(folder, url, port, location, strips=strips)
        command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(path)]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        assert "[warn]" not in checked.stderr
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                tus = Tus(f"https://127.0.0.1:{port}", settings)
                tus.http = proxied(port, folder / "certificate.pem", key)
                with tus.http:
                    wait_until_up(tus.http, settings.root_path)
                    yield tus
            finally:
                process.terminate()
    shutil.rmtree(folder)


def proxied(port: int, certificate: Path, key: str) -> httpx.Client:
    """A client of `https://slides.example:<port>`, which is on this machine."""

    class Here(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["sni_hostname"] = NAME
            return super().handle_request(request)

    trusted = ssl.create_default_context(cafile=str(certificate))
    headers = {"Host": f"{NAME}:{port}", "Origin": f"https://{NAME}:{port}", "Authorization": f"Bearer {key}"}
    transport = Here(verify=trusted)
    return httpx.Client(base_url=f"https://127.0.0.1:{port}", transport=transport, headers=headers, timeout=60)


def wait_until_up(client: httpx.Client, root_path: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            assert client.get(f"{root_path}/healthz").status_code == 200
        except httpx.ConnectError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("nginx does not answer")


def test_an_upload_streams_through_and_is_the_slide(behind: Tus, tus_slide: bytes) -> None:
    said = metadata(filename="a.tif", note="x" * 6126)
    assert len(said) == 8191  # more than nginx takes by itself
    address = behind.new(len(tus_slide), tus_slide[:1000], Upload_Metadata=said)

    def pieces() -> Iterator[bytes]:
        yield tus_slide[1000:2_000_000]
        behind.wait_for_bytes(address, 1000)  # while the rest is still to be sent
        yield tus_slide[2_000_000:2_500_000]

    headers = CHUNK | {"Upload-Offset": "1000", "X-HTTP-Method-Override": "PATCH"}
    assert behind.http.post(address, headers=headers, content=pieces()).status_code == 204
    assert behind.offset(address) == 2_500_000
    behind.finish(address, tus_slide)


def test_below_a_path_an_upload_is_the_slide_and_the_record_names_its_sender(below: Tus, tus_slide: bytes) -> None:
    start = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(tus_slide))}
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    made = below.http.post(f"{BELOW}/v1/uploads", headers=start | forged)
    address = made.headers["location"]
    assert address.startswith(f"{BELOW}/v1/uploads/")
    assert below.patch(address, 0, tus_slide).status_code == 204
    slide_id = below.ended(address)["slide_id"]
    assert below.http.get(f"{BELOW}/v1/slides/{slide_id}").json()["id"] == slide_id
    assert below.http.get("/v1/slides").status_code == 404  # nginx has nothing else there
    link = below.http.post(f"{BELOW}/v1/links", json={"path": f"/v1/slides/{slide_id}"}).json()["url"]
    assert below.http.get(link, headers={"Authorization": "Basic of-nginx"}).status_code == 200
    page = below.http.get(BELOW)
    assert (page.status_code, httpx.URL(page.headers["location"]).path) == (301, f"{BELOW}/")
    page = below.http.get(f"{BELOW}/v1/slides/")
    assert page.headers["location"] == f"https://{below.http.headers['Host']}{BELOW}/v1/slides"
    lines = [json.loads(line) for line in (below.settings.data_dir / "audit.jsonl").read_text().splitlines()]
    assert {(line["remote"], line["path"].split("/")[1]) for line in lines if line["action"] == "change"} == {
        ("127.0.0.1", "v1")
    }


def test_refusals_get_through_in_the_gateways_words(behind: Tus, tus_slide: bytes) -> None:
    address = behind.new(len(tus_slide))
    rest = tus_slide[:2_000_000]
    assert error_of(behind.patch(address, 0, rest, Upload_Checksum=checksum(b"other"))) == (460, "checksum_mismatch")
    assert error_of(behind.patch(address, 7, rest)) == (409, "offset_mismatch")
    assert error_of(behind.patch(address, len(tus_slide) - 9, rest)) == (413, "upload_too_large")
    assert error_of(behind.create(2**31)) == (413, "upload_too_large")
    behind.finish(address, tus_slide)


def test_the_host_gets_through_and_no_other_is_taken(behind: Tus) -> None:
    answer = behind.http.post("/v1/links", json={"path": "/v1/models"}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")
    answer = behind.http.get("/v1/models", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_refused")


def test_a_job_is_followed_and_asked_for_through_it(behind: Tus, jobs: Jobs) -> None:
    job_id = running(jobs, 1)
    with behind.http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event")) == "event: state"  # the job has not ended
        assert behind.http.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
        jobs.cancel(job_id)
        assert "event: end" in list(lines)
    assert behind.http.get(f"/v1/jobs/{job_id}").json()["state"] == "canceled"
