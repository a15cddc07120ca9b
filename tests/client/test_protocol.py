"""The protocol without a socket: what the steps ask for, given what they are told."""

import hashlib
import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldiffusion_client import products, uploads
from ldiffusion_client.client import unseen
from ldiffusion_client.errors import (
    Busy,
    Damaged,
    Missing,
    NeverReached,
    Refused,
    RemoteError,
    ServerFailed,
    TookTooLong,
    Unreachable,
    failure,
)
from ldiffusion_client.jobs import Event, EventParser, wait
from ldiffusion_client.protocol import Answer, Ask, Body, Open, Pause, Read, RetryPolicy, Work, retrying
from server.web.sse import event
from workers.core.schemas import JobRequest, JobView

JOB = "0" * 32
RUNNING = JobView(
    id=JOB, state="running", request=JobRequest(slide_id=JOB), created_at=datetime(2026, 1, 2, tzinfo=UTC)
).model_dump(mode="json")
GONE = failure(Unreachable, "server_unreachable", "No answer.")


def told(status: int, code: str, **headers: str) -> Answer:
    body = {"error": {"code": code, "message": "A sentence.", "value": "v", "accepted": "a", "newer": 1}}
    return Answer(status, headers, json.dumps(body).encode())


def play(steps: Generator[Any, Any, Any], replies: list[Any]) -> tuple[Any, list[Any]]:
    """Answer requests and reads in turn, throwing what is an error; return the end and all that was asked for."""
    asked: list[Any] = []
    reply: Any = None
    while True:
        try:
            step = steps.throw(reply) if isinstance(reply, RemoteError) else steps.send(reply)
        except StopIteration as end:
            assert replies == []
            return end.value, asked
        reply = None
        if isinstance(step, Work):
            reply = step.call()
        else:
            asked.append(step)
            if not isinstance(step, Pause):
                reply = replies.pop(0)


def spend(patience: RetryPolicy, waited: list[float]) -> None:
    """Wait between tries that all fail, and note how long."""
    while True:
        waited += [pause.seconds for pause in patience.hold(GONE) if isinstance(pause, Pause)]


# --- errors and patience ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (told(404, "job_not_found"), Missing),
        (told(503, "product_failed", **{"retry-after": "5"}), Busy),
        (told(429, "quota_exceeded"), Busy),
        (told(507, "disk_full"), ServerFailed),
        (Answer(500, {}, b"<html>"), ServerFailed),
    ],
)
def test_what_does_not_pass_is_told_at_once(answer: Answer, kind: type[RemoteError]) -> None:
    with pytest.raises(kind) as caught:
        play(retrying(Ask("GET", "/x")), [answer])
    assert caught.value.status == answer.status
    if answer.content.startswith(b"{"):
        assert (caught.value.value, caught.value.accepted) == ("v", "a")


def test_what_passes_is_asked_for_again_as_late_as_the_server_wants() -> None:
    busy = told(503, "queue_unavailable", **{"retry-after": "5"})
    answer, asked = play(retrying(Ask("GET", "/x")), [GONE, busy, Answer(502, {}), Answer(200, {}, b"here")])
    assert answer.content == b"here"
    assert [step.seconds for step in asked if isinstance(step, Pause)] == [0.25, 5, 1.0]


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    with pytest.raises(NeverReached):
        play(retrying(Ask("GET", "/x")), [failure(NeverReached, "server_unreachable", "No answer.")])


@given(st.floats(0, 100))
def test_patience_ends_and_is_renewed(limit_s: float) -> None:
    patience = RetryPolicy(limit_s)
    for _ in range(2):
        waited: list[float] = []
        with pytest.raises(Unreachable):
            spend(patience, waited)
        assert limit_s - 5 < sum(waited) <= limit_s
        patience.renew()


def test_a_file_that_becomes_shorter_is_not_sent_as_if_it_were_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert b"".join(Body(tmp_path / "a", 1, 3, unseen)) == b"234"
    with pytest.raises(Refused, match="shorter"):
        list(Body(tmp_path / "a", 1, 5, unseen))


# --- uploads ----------------------------------------------------------------------------------------------------------


def test_the_servers_word_decides_where_the_next_chunk_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 4)
    source = uploads.Source(tmp_path / "a", "a", 10, "")
    at = [Answer(200, {"upload-offset": str(offset)}) for offset in range(11)]
    replies = [at[0], at[4], told(409, "offset_mismatch"), at[6], GONE, GONE, at[9], told(423, "upload_locked"), at[9]]
    _, asked = play(uploads._send("/v1/uploads/1", source, unseen, 60), [*replies, at[10]])
    chunks = [(step.headers["Upload-Offset"], step.body.length) for step in asked if getattr(step, "body", None)]
    assert chunks == [("0", 4), ("4", 4), ("6", 4), ("9", 1), ("9", 1)]
    with pytest.raises(ServerFailed):
        play(uploads._send("/v1/uploads/1", source, unseen, 60), [at[0], told(507, "disk_full")])


# --- events -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text("0123456789-", min_size=1), st.text(st.characters(codec="utf-8")))), st.data())
def test_events_are_read_in_whatever_pieces_they_come(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    told_events = [Event(name, "progress", json.dumps(text)) for name, text in pairs]
    wire = b"retry: 2000\n\n: beat\n\n" + b": beat\n\n".join(
        event(each.id, each.kind, each.data) for each in told_events
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)))))
    parser = EventParser()
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert [each for piece in pieces for each in parser.feed(piece)] == told_events


def test_a_stream_that_breaks_is_taken_up_behind_the_last_event() -> None:
    done = RUNNING | {"state": "succeeded", "newer": "field"}
    view = Answer(200, {}, json.dumps(RUNNING).encode())
    progress = event("5-0", "progress", json.dumps({"state": "running", "regions_done": 1}))
    end = event("6-0", "end", json.dumps(done))
    seen: list[int] = []
    job, asked = play(
        wait(JOB, lambda progress: seen.append(progress.regions_done), None, 60),
        [view, Answer(200, {}), progress, GONE, view, Answer(200, {}), end],
    )
    assert job.state == "succeeded"
    assert seen == [0, 1, 0]
    opened = [step for step in asked if isinstance(step, Open)]
    assert [step.headers.get("Last-Event-ID") for step in opened] == [None, "5-0"]
    deleted = event("0-0", "end", json.dumps({"id": JOB, "state": "deleted"}))
    with pytest.raises(Missing):
        play(wait(JOB, unseen, None, 60), [view, Answer(200, {}), deleted])


def test_near_its_deadline_a_client_asks_and_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("ldiffusion_client.protocol.time.monotonic", lambda: now)
    view = Answer(200, {}, json.dumps(RUNNING).encode())
    steps, asked = wait(JOB, unseen, 61.5, 60), list[Any]()
    step: Any = next(steps)
    while True:
        asked.append(step)
        now += step.seconds if isinstance(step, Pause) else 15 * isinstance(step, Read)
        try:
            step = steps.send(b": beat\n\n" if isinstance(step, Read) else view)
        except TookTooLong:
            break
    assert now == pytest.approx(61.5)
    (opened,) = (step for step in asked if isinstance(step, Open))
    assert opened.silence_s == 61.5  # a line without a beat ends no later
    assert [type(step) for step in asked].count(Read) == 3
    assert {type(step) for step in asked[5:]} == {Ask, Pause}


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_taken_up_where_it_broke_if_it_is_still_the_same(tmp_path: Path) -> None:
    content = bytes(range(100))
    tag = {"etag": f'"{hashlib.sha256(content).hexdigest()}"'}
    making = Answer(202, {"retry-after": "7"})
    for again, rest in ((Answer(206, tag), content[30:]), (Answer(200, tag), content)):
        steps = products.download(JOB, "features.fgb", tmp_path / "f", {}, unseen, None, 60)
        path, asked = play(steps, [making, Answer(200, tag), content[:30], GONE, again, rest, b""])
        assert path.read_bytes() == content
        assert Pause(7.0) in asked
        opened = [step for step in asked if isinstance(step, Open)]
        assert "Range" not in opened[1].headers
        assert (opened[2].headers["Range"], opened[2].headers["If-Range"]) == ("bytes=30-", tag["etag"])
    steps = products.download(JOB, "features.fgb", tmp_path / "g", {}, unseen, None, 60)
    with pytest.raises(Damaged):
        play(steps, [Answer(200, tag), b"other", b""])
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_server_does_not_choose_where_files_of_a_folder_go(tmp_path: Path) -> None:
    group = {"attributes": {"ome": {"multiscales": [{"datasets": [{"path": "../../escape"}]}]}}}
    replies = [Answer(200, {}), Answer(200, {}, json.dumps(group).encode())]
    with pytest.raises(Damaged):
        play(products.download(JOB, "labels.ome.zarr", tmp_path / "z", {}, unseen, None, 60), replies)
    assert list(tmp_path.iterdir()) == []


def test_reads_are_asked_for_until_there_is_no_more(tmp_path: Path) -> None:
    steps = products.download(JOB, "statistics", tmp_path / "s", {}, unseen, None, 60)
    _, asked = play(steps, [Answer(200, {}), b"{", b"}", b""])
    assert [type(step) for step in asked] == [Open, Read, Read, Read]
    assert (tmp_path / "s").read_bytes() == b"{}"
