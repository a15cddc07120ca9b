"""Corrections over HTTP: what people say of the objects of a job stands beside its results, and never in them."""

import json
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from corrected_jobs import objects_of, put_job, square
from fiducials import SLIDE_MPP, Finished
from gateway_fixtures import running_gateway

from server.access.keys import Keys
from server.cli.main import main
from workers.core.corrections.log import FILE
from workers.core.digests import sha256_of
from workers.core.job_files import SIZE, read_size
from workers.core.settings import Settings
from workers.core.storage.files import bytes_below
from workers.core.store import Store

UM2_PER_PX2 = SLIDE_MPP**2


@pytest.fixture
def job_id(gateway: httpx.Client, gateway_settings: Settings, plain: Finished) -> str:
    return put_job(plain, gateway_settings.data_dir)


@pytest.fixture
def address(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/corrections"


def sent(client: httpx.Client, address: str, revision: int, *changes: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(address, json={"revision": revision, "changes": changes})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    return error


def test_what_is_said_of_objects_stands_changes_the_numbers_and_is_taken_back(
    gateway: httpx.Client, gateway_settings: Settings, job_id: str, address: str
) -> None:
    folder = Store(gateway_settings.data_dir).job_dir(job_id)
    before = {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file() and path.name != SIZE}
    assert gateway.get(address).json() == {"revision": 0, "undoable": None, "items": []}
    left, middle, right = objects_of(gateway, job_id)
    near = left["geometry"]["coordinates"][0][0]

    told = sent(
        gateway, address, 0,
        {"action": "reject", "object": left["id"], "near": near}, {"action": "accept", "object": middle["id"]},
    )  # fmt: skip
    assert [(each["id"], each["state"]) for each in told["items"]] == [
        (left["id"], "rejected"), (middle["id"], "accepted"),
    ]  # fmt: skip
    assert told["items"][0]["geometry"]["coordinates"] == left["geometry"]["coordinates"]
    told = sent(
        gateway, address, 1,
        {"action": "redraw", "object": right["id"], "geometry": square(2000, 1240, 100)},
        {"action": "add", "class_name": "nucleus", "geometry": square(100, 100, 40)},
    )  # fmt: skip
    assert [each["state"] for each in told["items"]] == ["redrawn", "added"]
    added = told["items"][1]
    assert added["area_um2"] == pytest.approx(1600 * UM2_PER_PX2)
    assert (added["author"], added["model_class_index"]) == ({"name": "local", "key_id": None}, None)

    (found,) = gateway.get(f"{address}/statistics").json()["classes"]
    statistics = gateway.get(f"/v1/jobs/{job_id}/statistics").json()
    known = statistics["classes"][1]
    assert found["without"] == {name: known[name] for name in ("count", "mm2", "density_per_mm2")}
    assert found["reviewed"] == {
        "accepted": 1, "rejected": 1, "relabelled": 0, "redrawn": 1, "came": 0, "added": 1,
    }  # fmt: skip
    assert found["corrected"]["count"] == 3
    px2 = known["mm2"] * 1e6 / UM2_PER_PX2 - 40 * 60 - 64 * 64 + 100 * 100 + 40 * 40
    assert found["corrected"]["mm2"] == pytest.approx(px2 * UM2_PER_PX2 / 1e6)
    assert found["corrected"]["density_per_mm2"] == pytest.approx(3 / statistics["tissue_mm2"])

    refused(gateway.post(f"{address}/undo", json={"revision": 2, "undo": 3}), 409, "not_undoable")
    back = gateway.post(f"{address}/undo", json={"revision": 2, "undo": 2}).json()
    assert back == {"revision": 3, "undoable": 1, "items": [], "dropped": [right["id"], added["id"]]}
    refused(gateway.post(f"{address}/undo", json={"revision": 3, "undo": 2}), 409, "not_undoable")
    refused(gateway.post(f"{address}/undo", json={"revision": 3, "undo": 3}), 409, "not_undoable")
    view = gateway.get(address).json()
    assert (view["revision"], {each["state"] for each in view["items"]}) == (3, {"rejected", "accepted"})

    history = gateway.get(f"{address}/history?limit=2").json()
    assert ([each["revision"] for each in history["items"]], history["next_after"]) == ([1, 2], 2)
    (last,) = gateway.get(f"{address}/history?after=2").json()["items"]
    assert (last["undo"], last["changes"], last["author"]["name"]) == (2, [], "local")
    assert {path.name: sha256_of(path) for path in folder.iterdir() if path.name in before} == before
    assert len((folder / FILE).read_text().splitlines()) == 3

    assert gateway.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert gateway.get(address).status_code == 404
    assert not folder.exists()


def test_an_object_that_a_person_added_is_corrected_like_the_others(
    gateway: httpx.Client, job_id: str, address: str
) -> None:
    (added,) = sent(gateway, address, 0, {"action": "add", "class_name": "nucleus", "geometry": square(100, 100, 40)})[
        "items"
    ]
    (gone,) = sent(gateway, address, 1, {"action": "reject", "object": added["id"]})["items"]
    assert gone["state"] == "rejected"
    assert gateway.get(f"{address}/statistics").json()["classes"][0]["corrected"]["count"] == 3
    error = refused(gateway.post(f"{address}/undo", json={"revision": 2, "undo": 1}), 409, "not_undoable")
    assert error["accepted"] == "revision 2 first"
    (again,) = sent(gateway, address, 2, {"action": "redraw", "object": added["id"], "geometry": square(0, 0, 10)})[
        "items"
    ]
    assert (again["state"], again["area_um2"]) == ("added", pytest.approx(100 * UM2_PER_PX2))


def test_of_two_who_correct_at_once_one_is_told(gateway: httpx.Client, job_id: str, address: str) -> None:
    ids = [each["id"] for each in objects_of(gateway, job_id)]
    barrier, found = threading.Barrier(3), []

    def correct(object_id: str) -> None:
        barrier.wait()
        body = {"revision": 0, "changes": [{"action": "reject", "object": object_id}]}
        found.append(httpx.post(f"{gateway.base_url}{address}", json=body, timeout=60, trust_env=False))

    threads = [threading.Thread(target=correct, args=(each,)) for each in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answer.status_code for answer in found) == {200: 1, 409: 2}
    for answer in found:
        if answer.status_code == 409:
            assert refused(answer, 409, "corrections_changed")["accepted"] == "revision 1"
    assert len(gateway.get(address).json()["items"]) == 1
    body = {"revision": 7, "changes": [{"action": "reject", "object": ids[0]}]}
    refused(gateway.post(address, json=body), 409, "corrections_changed")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"action": "add", "class_name": "nucleus", "geometry": square(2300, 10, 10)}, 422, "outline_invalid"),
        (
            {"action": "add", "class_name": "nucleus",
             "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]}},
            422, "outline_invalid",
        ),
        (
            {"action": "add", "class_name": "nucleus",
             "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [5, 0], [0, 0]]]}},
            422, "outline_invalid",
        ),
        ({"action": "add", "class_name": "background", "geometry": square(0, 0, 10)}, 422, "invalid_request"),
        ({"action": "add", "class_name": "gland", "geometry": square(0, 0, 10)}, 422, "invalid_request"),
        (
            {"action": "add", "class_name": "nucleus",
             "geometry": {"type": "Polygon", "coordinates": [[[x, x % 2] for x in range(2001)] + [[0, 0]]]}},
            422, "invalid_request",
        ),
        (
            {"action": "add", "class_name": "nucleus", "geometry": {
                "type": "MultiPolygon", "coordinates": [square(x, 0, 1)["coordinates"] for x in (0, 5)]}},
            422, "invalid_request",
        ),
        ({"action": "reject", "object": str(uuid.UUID(int=5))}, 404, "object_not_found"),
        ({"action": "reject", "object": "' OR 1=1 --"}, 422, "invalid_request"),
        ({"action": "praise", "object": str(uuid.UUID(int=5))}, 422, "invalid_request"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    gateway: httpx.Client, address: str, change: dict[str, Any], status: int, code: str
) -> None:
    good = {"action": "add", "class_name": "nucleus", "geometry": square(0, 0, 10)}
    error = refused(gateway.post(address, json={"revision": 0, "changes": [good, change]}), status, code)
    assert error["message"]
    assert gateway.get(address).json()["revision"] == 0


def test_an_object_is_found_where_it_is_and_nowhere_else(gateway: httpx.Client, job_id: str, address: str) -> None:
    left = objects_of(gateway, job_id)[0]
    body = {"revision": 0, "changes": [{"action": "reject", "object": left["id"], "near": [2000, 1300]}]}
    refused(gateway.post(address, json=body), 404, "object_not_found")
    twice = {"action": "reject", "object": left["id"]}
    refused(gateway.post(address, json={"revision": 0, "changes": [twice, twice]}), 422, "invalid_request")


def test_without_the_index_it_is_asked_for_and_the_client_is_told_to_come_again(
    gateway: httpx.Client, gateway_settings: Settings, plain: Finished
) -> None:
    job_id = put_job(plain, gateway_settings.data_dir, has_index=False)
    address = f"/v1/jobs/{job_id}/corrections"
    body = {"revision": 0, "changes": [{"action": "reject", "object": str(uuid.UUID(int=5))}]}
    refused(gateway.post(address, json=body), 409, "index_not_ready")
    states = {each["name"]: each["state"] for each in gateway.get(f"/v1/jobs/{job_id}/products").json()["items"]}
    assert states["features.fgb"] == "making"
    assert states["training.zip"] == "absent"
    drawn = {"action": "add", "class_name": "nucleus", "geometry": square(0, 0, 10)}
    assert gateway.post(address, json={"revision": 0, "changes": [drawn]}).status_code == 200  # needs no index


def test_corrections_count_in_the_quota_and_bear_the_name_of_the_key(
    gateway_settings: Settings, plain: Finished
) -> None:
    job_id = put_job(plain, gateway_settings.data_dir)
    store, keys = Store(gateway_settings.data_dir), Keys(gateway_settings.data_dir)
    _, key = keys.create("Anna", "local", ("read", "submit"))
    before = bytes_below(store.job_dir(job_id), besides=SIZE)
    stored = before + store.read_slide(plain.info.id).size_bytes
    address = f"/v1/jobs/{job_id}/corrections"
    drawn = {"action": "add", "class_name": "nucleus", "geometry": square(0, 0, 10)}
    for room, status in ((100_000, 200), (1, 429)):
        settings = gateway_settings.model_copy(update={"quota_bytes": stored + room})
        with (
            running_gateway(settings) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60, trust_env=False) as client,
        ):
            revision = client.get(address).json()["revision"]
            answer = client.post(address, json={"revision": revision, "changes": [drawn]})
            assert (answer.status_code == 200) == (status == 200), answer.text
            if status == 200:
                assert answer.json()["items"][0]["author"]["name"] == "Anna"
                grown = bytes_below(store.job_dir(job_id), besides=SIZE)
                assert grown > before
                assert read_size(store, job_id) == grown
                assert client.get("/v1/usage").json()["jobs_bytes"] == grown
            else:
                assert answer.json()["error"]["code"] == "quota_exceeded"


def test_the_command_corrects_and_takes_back(gateway: httpx.Client, job_id: str, address: str, tmp_path: Path) -> None:
    left, middle, _ = objects_of(gateway, job_id)
    server = ("--server", str(gateway.base_url))

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["corrections", *arguments, *server])
        assert result.exit_code == 0, result.output
        return result.output

    outline = tmp_path / "outline.geojson"
    outline.write_text(json.dumps(square(100, 100, 40)))
    assert "rejected  nucleus" in said("reject", job_id, left["id"])
    assert "accepted" in said("accept", job_id, middle["id"])
    assert "relabel" not in said("relabel", job_id, left["id"], "--class", "nucleus")
    assert "redrawn" in said("redraw", job_id, middle["id"], str(outline))
    assert "added" in said("add", job_id, "5,5,25,25", "--class", "nucleus")
    assert said("list", job_id).splitlines()[-1] == "revision 5, 3 objects"
    rows = said("statistics", job_id).splitlines()
    assert rows[1].split()[:3] == ["nucleus", "without", "3"]
    assert rows[2].split()[:2] == ["corrected", "4"]
    assert json.loads(said("statistics", job_id, "--json"))["classes"][0]["reviewed"]["added"] == 1
    assert said("undo", job_id) == "Revision 5 is taken back by revision 6.\n"
    lines = said("history", job_id).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
    assert lines[5].endswith("local  takes back 5")
    result = CliRunner().invoke(main, ["corrections", "undo", job_id, "5", *server])
    assert result.exit_code != 0
