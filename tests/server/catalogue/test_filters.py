"""Lists by name, label, digest, warning and date: what a filter lets through is what a look at every record finds."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx
import pytest
from job_requests import add_slide, code_of, submit
from queue_fixtures import write_result

from server.catalogue.catalogue import Catalogue
from server.catalogue.listing import list_jobs, list_slides
from server.catalogue.pages import JobFilter, SlideFilter
from workers.core.job_files import change_labels
from workers.core.own_labels import LABELS_MAX
from workers.core.queue.jobs import Jobs
from workers.core.schemas import JobRequest
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo, TrustWarning
from workers.core.store import Store, new_id

START = datetime(2026, 1, 1, tzinfo=UTC)
CAUTION = TrustWarning(code="planes_unread", message="made")
NAMES = ("Case-1_HE.svs", "case-1 100%.svs", "ÄRZTE.tif", "other.svs")


def made_slides(store: Store) -> list[SlideInfo]:
    slides = []
    for number, (name, stain) in enumerate(product(NAMES, ("HE", "Ki67"))):
        slide_id = add_slide(store, 0.5)
        labels = {"stain": stain, "case": f"S-{number % 3}"} if number else {}
        changes: dict[str, Any] = {"filename": name, "labels": labels, "created_at": START + timedelta(hours=number)}
        changes |= {"sha256": f"{number % 4:064x}", "warnings": (CAUTION,) if number % 3 == 0 else ()}
        slides.append(store.read_slide(slide_id).model_copy(update=changes))
        store.write_json(store.slide_dir(slide_id) / "slide.json", slides[-1])
    return slides


def literal(wanted: SlideFilter, info: SlideInfo) -> bool:
    return (
        (wanted.name is None or wanted.name.casefold() in info.filename.casefold())
        and wanted.sha256 in (None, info.sha256)
        and set(wanted.labels) <= set(info.labels.items())
        and (wanted.warning is None or wanted.warning in [warning.code for warning in info.warnings])
        and (wanted.since is None or info.created_at >= wanted.since)
        and (wanted.before is None or info.created_at < wanted.before)
    )


WANTED: list[dict[str, Any]] = [
    {"name": "case-1"},
    {"name": "100%"},
    {"name": "_"},
    {"name": "ärzte"},
    {"sha256": f"{2:064x}"},
    {"labels": (("stain", "Ki67"),)},
    {"labels": (("stain", "Ki67"), ("case", "S-1"))},
    {"labels": (("stain", "ki67"),)},
    {"warning": "planes_unread"},
    {"since": START + timedelta(hours=3)},
    {"before": START + timedelta(hours=3)},
    {"since": START + timedelta(hours=1), "before": START + timedelta(hours=6), "name": "svs", "warning": CAUTION.code},
]


def test_slides_are_those_that_a_look_at_each_finds(jobs: Jobs, catalogue: Catalogue) -> None:
    slides = made_slides(jobs.store)
    counts = []
    for asked in WANTED:
        wanted = SlideFilter(tenant="local", **asked)
        expected = [info.id for info in reversed(slides) if literal(wanted, info)]
        assert [info.id for info in list_slides(catalogue, 100, wanted)[0]] == expected, asked
        first, cursor = list_slides(catalogue, 1, wanted)
        assert [info.id for info in first] == expected[:1]
        assert (cursor is None) == (len(expected) <= 1)
        counts.append(len(expected))
    assert counts == [4, 2, 2, 2, 2, 4, 2, 0, 3, 5, 3, 1]


def test_jobs_are_found_by_what_their_slide_and_they_themselves_have(jobs: Jobs, catalogue: Catalogue) -> None:
    slides = made_slides(jobs.store)
    ids = []
    for number, info in enumerate(slides):
        request, labels = JobRequest(slide_id=info.id), {"study": "x"} if number % 2 else {}
        ids.append(new_id())
        jobs.store.save_request(ids[-1], request, info.created_at, labels=labels)
        if number == 5:
            write_result(jobs, ids[-1])
            placed = CAUTION.at([(0, 0, 9, 9), (20, 20, 40, 40)])
            result = jobs.store.read_result(ids[-1]).model_copy(update={"warnings": (placed,)})
            jobs.store.write_json(jobs.store.job_dir(ids[-1]) / "result.json", result)

    def found(**wanted: Any) -> list[int]:
        views, _ = list_jobs(catalogue, 100, JobFilter(tenant="local", **wanted))
        return sorted(ids.index(view.id) for view in views)

    assert found(labels=(("study", "x"),)) == [1, 3, 5, 7]
    assert found(labels=(("study", "x"), ("stain", "Ki67"), ("case", "S-1"))) == [1, 7]
    assert found(name="OTHER") == [6, 7]
    assert found(sha256=f"{1:064x}") == [1, 5]
    assert found(warning=CAUTION.code) == [5]
    assert found(states=("succeeded",), warning=CAUTION.code) == [5]
    ((told,),) = (view.warnings for view in list_jobs(catalogue, 100)[0] if view.id == ids[5])
    assert (told.places, told.places_count) == ((), 2)  # a list tells how many; the job, where
    ((told,), *_) = [jobs.view(ids[5]).warnings]
    assert told.places == ((20, 20, 40, 40), (0, 0, 9, 9))
    change_labels(jobs.store, ids[1], {"study": None, "other": "y"})
    catalogue.renew("job", ids[1], "local")
    assert found(labels=(("study", "x"),)) == [3, 5, 7]
    assert found(labels=(("other", "y"),)) == [1]


def test_a_change_that_was_not_told_is_found_at_the_next_start(jobs: Jobs, catalogue: Catalogue) -> None:
    """As after a crash between the disk and the index."""
    info = made_slides(jobs.store)[1]
    wanted = SlideFilter(tenant="local", labels=(("stain", "PAS"),))
    assert list_slides(catalogue, 10, wanted)[0] == ()
    changed = info.model_copy(update={"labels": {"stain": "PAS"}})
    jobs.store.write_json(jobs.store.slide_dir(info.id) / "slide.json", changed)
    assert list_slides(catalogue, 10, wanted)[0] == ()
    again = Catalogue(jobs)
    assert again.reconcile() == 1
    assert list_slides(catalogue, 10, wanted)[0] == (changed,)
    again.close()


def test_labels_over_http(gateway: httpx.Client, gateway_settings: Settings) -> None:
    store = Store(gateway_settings.data_dir)
    slide_id = add_slide(store, 0.5)
    address = f"/v1/slides/{slide_id}"
    given = gateway.patch(address, json={"labels": {"case": "S-1", "block": "Ä 7"}})
    assert given.json()["labels"] == {"case": "S-1", "block": "Ä 7"}
    assert gateway.patch(address, json={"labels": {"block": None}}).json()["labels"] == {"case": "S-1"}
    assert gateway.patch(address, json={"mpp": 0.25}).json()["labels"] == {"case": "S-1"}

    def ids(**params: Any) -> list[str]:
        return [item["id"] for item in gateway.get("/v1/slides", params=params).raise_for_status().json()["items"]]

    assert ids(label="case:S-1") == [slide_id]
    assert ids(label="block:Ä 7") == ids(label=["case:S-1", "block:x"]) == []

    job = submit(gateway, slide_id, labels={"study": "x"}).json()
    assert (job["labels"], "labels" in job["request"]) == ({"study": "x"}, False)
    assert store.read_request(job["id"]).labels == {"study": "x"}
    changed = gateway.patch(f"/v1/jobs/{job['id']}", json={"labels": {"study": None, "round": "2"}}).json()
    assert changed["labels"] == {"round": "2"}
    (listed,) = gateway.get("/v1/jobs", params={"label": ["round:2", "case:S-1"]}).json()["items"]
    assert listed["labels"] == {"round": "2"}
    batch = gateway.post(
        "/v1/batches", json={"slide_ids": [slide_id], "model": "made-model", "labels": {"study": "y"}}
    ).json()
    (of_batch,) = gateway.get("/v1/jobs", params={"label": "study:y"}).json()["items"]
    assert of_batch["id"] == batch["items"][0]["job_id"]


NO_CHANGES: list[dict[str, Any]] = [
    {},
    *({"labels": {key: "x"}} for key in ("a b", "", "-a", "a:b", "a" * 65)),
    *({"labels": {"a": value}} for value in ("", " x", "x\ny", "x\u202e", "x" * 257)),
    {"labels": {f"k{number}": "x" for number in range(LABELS_MAX + 1)}},
]
NO_QUERIES = ("label=case", "label=a:", "label=a:1&label=a:2", "sha256=12", "name=", "since=yesterday")


def test_what_is_no_label_is_refused(gateway: httpx.Client, gateway_settings: Settings) -> None:
    address = f"/v1/slides/{add_slide(Store(gateway_settings.data_dir), 0.5)}"
    answers = [gateway.patch(address, json=change) for change in NO_CHANGES]
    answers += [gateway.get(f"/v1/slides?{query}") for query in NO_QUERIES]
    answers += [gateway.get(f"/v1/jobs?{query}") for query in NO_QUERIES]
    answers.append(gateway.put("/v1/slides?filename=a.svs&label=x", content=b"x"))
    assert {code_of(answer) for answer in answers} == {(422, "invalid_request")}
    assert gateway.get(address).json()["labels"] == {}


def test_labels_that_would_be_too_many_together_are_refused(gateway: httpx.Client, gateway_settings: Settings) -> None:
    address = f"/v1/slides/{add_slide(Store(gateway_settings.data_dir), 0.5)}"
    labels = {f"k{number}": "x" for number in range(LABELS_MAX)}
    assert gateway.patch(address, json={"labels": labels}).is_success
    assert code_of(gateway.patch(address, json={"labels": {"one-more": "x"}})) == (422, "invalid_request")
    assert gateway.patch(address, json={"labels": {"one-more": "x", "k0": None}}).is_success


def test_no_label_is_in_a_log(
    gateway: httpx.Client, gateway_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    slide_id = add_slide(Store(gateway_settings.data_dir), 0.5)
    gateway.patch(f"/v1/slides/{slide_id}", json={"labels": {"case": "SECRET-7"}})
    gateway.patch(f"/v1/slides/{slide_id}", json={"labels": {"case": "SECRET-7\n"}})
    assert submit(gateway, slide_id, labels={"case": "SECRET-7"}).is_success
    kept = [
        path for path in gateway_settings.data_dir.rglob("*") if path.is_file() and b"SECRET-7" in path.read_bytes()
    ]
    assert {path.name.removesuffix("-wal") for path in kept} <= {"slide.json", "job.json", "catalogue.sqlite"}
    own = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not any("SECRET-7" in record.getMessage() for record in own)
