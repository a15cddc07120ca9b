"""The links that a gateway below a path prefix gives: each has the prefix, once, and leads to what it names."""

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import Response
from finished_jobs import MOMENT
from root_path_fixtures import ROOT, Asked, World
from tus_fixtures import Tus, metadata

from server.access.guards import Caller
from server.access.keys import Keys
from server.access.notes import Note
from server.access.principals import LOCAL
from server.jobs.webhook_dispatch import WebhookDispatch
from server.results import qupath
from server.routes.imports import import_slide
from server.uploads.imports import ImportRequest
from server.uploads.records import Upload

OWN_LINK = re.compile(r"(?:/[\w.~-]+)*?/v1/\w+/[0-9a-f]{32}[^\s\"'\\,]*")
"""A path of one of the server's things, with whatever stands before it."""


def links_in(answer: httpx.Response) -> list[str]:
    texts = [answer.text, *(value for name, value in answer.headers.items() if name in ("location", "upload-concat"))]
    return [found[0] for text in texts for found in OWN_LINK.finditer(text)]


def assert_links(answer: httpx.Response, at_least: int = 1) -> None:
    """Check that an answer has links, and that each begins with the prefix, once."""
    links = links_in(answer)
    assert len(links) >= at_least, answer.text
    assert [link for link in links if not link.startswith(f"{ROOT}/v1/")] == []


def test_what_is_made_is_found_where_the_answer_says(rooted_world: World, below_root: Asked) -> None:
    slide = below_root("PUT", "/v1/slides?filename=made.tif", content=rooted_world.slide.read_bytes())
    form = below_root("POST", "/v1/slides", files={"file": ("made.tif", rooted_world.slide.read_bytes())})
    job = below_root("POST", "/v1/jobs", json={"slide_id": rooted_world.slide_id, "model": "made-model"})
    batch = below_root("POST", "/v1/batches", json={"slide_ids": [rooted_world.slide_id], "model": "made-model"})
    for answer in (slide, form, job, batch):
        assert answer.status_code in (201, 202), answer.text
        assert_links(answer)
        assert urlsplit(answer.headers["location"]).path == answer.headers["location"]
        assert below_root.http.get(answer.headers["location"]).json()["id"] == answer.json()["id"]
    canceled = below_root("DELETE", f"/v1/jobs/{job.json()['id']}")
    assert canceled.json()["state"] == "canceled"


def test_results_are_found_where_the_job_says(rooted_world: World, below_root: Asked) -> None:
    job = below_root("GET", f"/v1/jobs/{rooted_world.job_id}")
    listed = below_root("GET", "/v1/jobs?state=succeeded")
    events = below_root("GET", f"/v1/jobs/{rooted_world.job_id}/events")
    for answer in (job, listed, events):
        assert_links(answer, 5)
    for name in ("result", "statistics.csv", "regions.geojson.gz"):
        link = job.json()["results"][name]
        assert link == f"{ROOT}/v1/jobs/{rooted_world.job_id}/{name}"
        assert below_root.http.get(link).status_code == 200
    refused = below_root("GET", f"/v1/jobs/{rooted_world.job_id}/labels.ome.zarr/zarr.json")
    assert_links(refused)


def test_an_upload_goes_on_and_is_joined_where_the_answers_say(rooted_world: World, below_root: Asked) -> None:
    content = rooted_world.slide.read_bytes()
    tus = Tus(str(below_root.http.base_url), rooted_world.settings)
    with tus.http:
        half = len(content) // 2
        start = httpx.URL(f"{below_root.sent}/v1/uploads")
        head = {"Tus-Resumable": "1.0.0", "Upload-Concat": "partial"}
        parts = []
        for piece in (content[:half], content[half:]):
            made = tus.http.post(start, headers=head | {"Upload-Length": str(len(piece))})
            assert_links(made)
            parts.append(made.headers["location"])
            assert tus.patch(parts[-1], 0, piece).status_code == 204
        joined = {"Tus-Resumable": "1.0.0", "Upload-Concat": f"final;{' '.join(parts)}"}
        whole = tus.http.post(start, headers=joined | {"Upload-Metadata": metadata(filename="made.tif")})
        assert whole.status_code == 201, whole.text
        assert_links(whole)
        told = tus.http.head(whole.headers["location"], headers={"Tus-Resumable": "1.0.0"})
        assert told.headers["upload-concat"] == f"final;{' '.join(parts)}"
        assert tus.ended(whole.headers["location"])["state"] == "ready"
        over = {"X-HTTP-Method-Override": "DELETE", "Tus-Resumable": "1.0.0"}
        assert tus.http.post(parts[0], headers=over).status_code in (204, 404)


class Begun:
    """Imports that begin without a look at what they fetch."""

    async def begin(self, _request: ImportRequest, tenant: str) -> Upload:
        return Upload(id="a" * 32, tenant=tenant, length=5, filename="a.svs", created_at=MOMENT, expires_at=MOMENT)


def test_an_import_is_followed_where_the_answer_says() -> None:
    begun: Any = Begun()
    answer = Response()
    request = ImportRequest(url="https://localhost/a.svs")
    asyncio.run(import_slide(request, answer, begun, Caller(LOCAL, Note()), ROOT))
    assert answer.headers["location"] == f"{ROOT}/v1/uploads/{'a' * 32}"


def test_a_webhook_tells_where_the_results_are(rooted_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def kept(queue: Any, present: Any) -> WebhookDispatch:
        made.append((queue, present))
        return WebhookDispatch(queue, present)

    monkeypatch.setattr("server.app.WebhookDispatch", kept)
    with rooted_world.served(ROOT, ""):
        ((queue, present),) = made
        results = present(queue.view(rooted_world.job_id)).results
    assert results["result"] == f"{ROOT}/v1/jobs/{rooted_world.job_id}/result"


def test_a_signed_link_opens_what_it_names_with_the_prefix_and_without(rooted_world: World) -> None:
    key = Keys(rooted_world.settings.data_dir).create("made", "local", ("read",))[1]
    job, name = f"/v1/jobs/{rooted_world.job_id}", "/result"
    try:
        with (
            rooted_world.served(ROOT, "", Authorization=f"Bearer {key}") as asked,
            httpx.Client(base_url=asked.http.base_url, trust_env=False) as nobody,
        ):
            stranger = Asked(nobody, "")
            for path in (f"{job}{name}", f"{ROOT}{job}{name}"):
                link = asked("POST", "/v1/links", json={"path": path}).json()["url"]
                assert link.startswith(f"{ROOT}{job}{name}?")
                assert stranger("GET", link).status_code == 200
                assert stranger("GET", link.removeprefix(ROOT)).status_code == 200
                assert stranger("GET", link.replace(name, "/statistics")).status_code == 403
                assert stranger("GET", f"{ROOT}{link}").status_code == 403
            for path in (f"{job}/", f"{ROOT}{job}/"):
                query = asked("POST", "/v1/links", json={"path": path}).json()["query"]
                for sent in ("", ROOT):
                    assert stranger("GET", f"{sent}{job}{name}?{query}").status_code == 200
                assert stranger("GET", f"{ROOT}/v1/slides/{rooted_world.slide_id}?{query}").status_code == 403
            script = asked("GET", f"{job}/{qupath.FILENAME}").text
            (address,) = re.findall(r"def address = '(.*)'", script)
            assert address.startswith(f"{asked.http.base_url}{ROOT}{job}/")
            assert nobody.get(address).status_code == 200
            assert stranger("GET", f"{ROOT}/v1/slides").status_code == 401
            assert stranger("GET", f"{ROOT}/healthz").status_code == 200
    finally:
        (rooted_world.settings.data_dir / "keys.json").unlink()


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_page_of_the_interface_and_its_document_know_the_prefix(below_root: Asked) -> None:
    document = below_root("GET", "/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]
    assert below_root("GET", "/v2").json()["type"] == f"{ROOT}/docs/errors#not_found"
    for path in ("/docs", "/docs/errors"):
        page = below_root("GET", path).text
        assert re.findall(r"""(?:src|href)=["']?/""", page) == []  # so they are asked for below the prefix


def test_the_page_asks_for_its_files_below_itself(below_root: Asked) -> None:
    page = below_root("GET", "/").text
    assert re.findall(r"""(?:src|href)=["']?/""", page) == []
    assert "http-equiv" not in page


def test_without_its_last_slash_the_page_is_found(rooted_world: World) -> None:
    with rooted_world.served(ROOT, ROOT) as kept:
        answer = kept("GET", "")
        assert answer.status_code == 307
        assert urlsplit(answer.headers["location"]).path == f"{ROOT}/"
        slashed = kept("GET", "/v1/slides/")
        assert urlsplit(slashed.headers["location"]).path == f"{ROOT}/v1/slides"
    with rooted_world.served(ROOT, "") as stripped:
        assert urlsplit(stripped("GET", "/v1/slides/").headers["location"]).path == f"{ROOT}/v1/slides"


def test_what_is_refused_says_so_with_the_prefix_too(below_root: Asked) -> None:
    answer = below_root("PUT", "/v1/jobs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert below_root("GET", "/v1/nothing").json()["error"]["value"] == f"GET {ROOT}/v1/nothing"
