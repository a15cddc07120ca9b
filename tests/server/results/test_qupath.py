"""The script for QuPath: what it holds, for how long it opens the regions, and what it does in a Groovy of its own."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fiducials import BOUNDED, BOUNDS, HEIGHT, WIDTH, Finished
from gateway_fixtures import running_gateway
from groovy_command import groovy
from qupath_rules import assert_qupath_takes

from server.access.keys import Keys
from server.results import qupath
from workers.core.schemas import Plan
from workers.core.settings import Settings

GROOVY = Path(__file__).resolve().parents[2] / "fixtures" / "groovy"


@contextmanager
def serving(job: Finished, folder: Path, queue: str) -> Iterator[httpx.Client]:
    """A gateway that wants a key, with a copy of a finished job; a client that has one."""
    shutil.copytree(job.store.root, folder / "data", ignore=shutil.ignore_patterns("products"))
    settings = Settings(data_dir=folder / "data", redis_url=queue, disk_reserve_bytes=0, link_max_s=1000)
    _, key = Keys(settings.data_dir).create("made", "local", ("read",))
    with running_gateway(settings) as url:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            yield client


def test_it_opens_the_regions_without_a_key_and_only_for_a_while(
    plain: Finished, tmp_path: Path, empty_queue: str
) -> None:
    with serving(plain, tmp_path, empty_queue) as client:
        address = f"/v1/jobs/{plain.job_id}/{qupath.FILENAME}"
        answer = client.get(address)
        assert answer.headers["content-disposition"] == f'attachment; filename="{qupath.FILENAME}"'
        assert answer.headers["cache-control"] == "no-store"
        (link,) = re.findall(r"def address = '(.*)'", answer.text)
        regions = httpx.get(f"{link}&space=qupath")
        assert regions.status_code == 200
        assert regions.headers["content-type"] == "application/gzip"
        # Who came by a link does not get one that outlives it.
        folder = {"path": f"/v1/jobs/{plain.job_id}/", "life_s": 100}
        client.headers["Authorization"] = f"Bearer {Keys(tmp_path / 'data').create('a', 'local', ('read',))[1]}"
        made = until_known(lambda: client.post("/v1/links", json=folder)).json()
        again = httpx.get(f"{client.base_url}{address}?{made['query']}")
        ends = [int(expires) for expires in re.findall(r"expires=(\d+)", again.text)]
        assert ends
        assert all(end <= made["expires"] for end in ends)


def until_known(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask until a new key is known: the gateway looks twice a second."""
    answer = ask()
    while answer.status_code == 401:
        answer = ask()
    return answer


def test_a_name_never_becomes_code(make_plan: Callable[..., Plan]) -> None:
    name = "a'\n\"$${x}\\u0027 */ evil() é.svs"
    plan = make_plan(1000, 800, bounds=(10, 20, 300, 200), l0_width=1000, l0_height=800)
    text = qupath.script(plan, name, "http://localhost/x?y=z", 0)
    (coded,) = re.findall(r"new String\('([A-Za-z0-9+/=]*)'\.decodeBase64", text)
    assert base64.b64decode(coded).decode() == name
    assert "evil" not in text
    assert text.isascii()
    assert "def whole = [1000, 800]" in text
    assert "def cropped = [300, 200]" in text


def test_a_job_without_regions_says_so(plain: Finished, tmp_path: Path, empty_queue: str) -> None:
    with serving(plain, tmp_path, empty_queue) as client:
        record = tmp_path / "data" / "jobs" / plain.job_id / "result.json"
        result = json.loads(record.read_text())
        del result["files"]["regions.geojson.gz"]
        record.write_text(json.dumps(result))
        answer = client.get(f"/v1/jobs/{plain.job_id}/{qupath.FILENAME}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "result_not_found")
        record.unlink()
        answer = client.get(f"/v1/jobs/{plain.job_id}/{qupath.FILENAME}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "result_not_ready")


@pytest.mark.java
@pytest.mark.parametrize("job", ["plain", "bounded"], indirect=True)
def test_run_by_groovy_it_puts_the_regions_where_qupath_counts_them(
    job: Finished, tmp_path: Path, empty_queue: str
) -> None:
    command, environment = groovy()
    script = tmp_path / qupath.FILENAME

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        line = [command, str(GROOVY / "run.groovy"), str(GROOVY), str(script), *map(str, arguments)]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)

    # The size of the open image says whether QuPath has cropped it.
    whole, cropped = (WIDTH, HEIGHT), (WIDTH - BOUNDS[0], HEIGHT - BOUNDS[1])
    shown = (
        {whole: ("level0", (0, 0)), cropped: ("qupath", BOUNDS)}
        if job.drawn is BOUNDED
        else {whole: ("qupath", (0, 0))}
    )
    with serving(job, tmp_path, empty_queue) as client:
        script.write_bytes(client.get(f"/v1/jobs/{job.job_id}/{qupath.FILENAME}").content)
        for (width, height), (space, (left, top)) in shown.items():
            done = run(width, height)
            assert done.returncode == 0, done.stderr
            *_, brought = done.stdout.splitlines()
            found = json.loads(brought)  # run twice: what it brought before is replaced
            assert found["spaces"] == [space]
            assert_qupath_takes({"type": "FeatureCollection", "features": found["features"]})
            boxes = [box_of(feature) for feature in found["features"]]
            job.assert_marks([(x0 + left, y0 + top, x1 + left, y1 + top) for x0, y0, x1, y1 in boxes])
        if job.drawn is BOUNDED:  # once is enough
            assert "The open image has [100, 100] pixels" in run(100, 100).stderr
            assert f"No slide is open. Open {job.info.filename}" in run(*whole, "no-slide").stderr


def box_of(feature: Any) -> tuple[float, float, float, float]:
    xs, ys = zip(*feature["geometry"]["coordinates"][0], strict=True)
    return min(xs), min(ys), max(xs), max(ys)
