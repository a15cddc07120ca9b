"""Strangers do not decide how long the audit log gets: one line at once, then a number for each minute."""

import asyncio
import math
from pathlib import Path

import pytest
from access_fixtures import guarded, key_of, log_of
from asgi_call import bearer, call

from server.access.audit import Event
from server.access.denied_requests import WINDOW_S, DeniedRequests
from server.jobs.retention_sweep import tell_denied_requests_for_ever


def refusal(remote: str = "192.0.2.1", code: str = "unauthorized") -> Event:
    return Event(action="refusal", remote=remote, status=401, code=code, path="/v1/slides")


def test_the_first_is_told_at_once_and_the_others_of_its_minute_as_a_number() -> None:
    denied_requests = DeniedRequests()
    assert denied_requests.lines(refusal(), 5) == [refusal()]
    assert [denied_requests.lines(refusal(), 5 + second) for second in range(40)] == [[]] * 40
    assert denied_requests.ended(5 + WINDOW_S - 1) == []
    number, again = denied_requests.lines(refusal(), 5 + WINDOW_S)
    assert (number.detail, number.remote, number.code, again) == (
        "40 more of the kind within 60 s",
        "192.0.2.1",
        "unauthorized",
        refusal(),
    )
    assert denied_requests.ended(math.inf) == []  # it was the only one of its minute


def test_addresses_and_codes_are_counted_apart_and_blocks_of_ipv6_together() -> None:
    denied_requests = DeniedRequests()
    apart = [refusal(), refusal("192.0.2.2"), refusal(code="link_invalid"), refusal("2001:db8::1")]
    assert [denied_requests.lines(each, 0) for each in apart] == [[each] for each in apart]
    assert denied_requests.lines(refusal("2001:db8::2"), 1) == []
    assert [event.remote for event in denied_requests.ended(WINDOW_S)] == ["2001:db8::1"]


def test_what_is_remembered_is_bounded_and_no_number_is_lost() -> None:
    denied_requests, told = DeniedRequests(most=10), []
    for _ in range(3):
        for number in range(20):
            told += denied_requests.lines(refusal(f"192.0.2.{number}"), 0)
            told += denied_requests.lines(refusal(f"192.0.2.{number}"), 0)
    told += denied_requests.ended(math.inf)
    counted = sum(int(str(event.detail).split()[0]) for event in told if event.detail)
    assert counted + sum(event.detail is None for event in told) == 120


def test_a_flood_with_a_key_leaves_two_lines_and_hides_no_other_key(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token, other = key_of(tmp_path, "read"), key_of(tmp_path, "read", tenant="lab-b")
    for number in range(30):
        client = f"192.0.2.{number}"  # a key is a key, from wherever
        assert call(app, "POST", "/v1/slides", bearer(token), access=access, client=client).status == 403
    assert call(app, "POST", "/v1/slides", bearer(other), access=access).status == 403
    told = log_of(access)
    assert [(line["code"], line["tenant"]) for line in told] == [("scope_missing", "lab-a"), ("scope_missing", "lab-b")]
    (number_line,) = access.denied_requests.ended(math.inf)
    assert (number_line.detail, number_line.key_id) == ("29 more of the kind within 60 s", told[0]["key_id"])
    assert (number_line.tenant, number_line.by) == ("lab-a", "key")


def test_a_flood_without_a_key_leaves_two_lines_and_the_chain_whole(tmp_path: Path) -> None:
    app, access = guarded(tmp_path)
    token = key_of(tmp_path, "read")
    for number in range(50):
        assert call(app, "GET", f"/v1/slides/{number}", access=access).status == 401
    assert call(app, "POST", "/v1/slides", bearer(token), access=access).status == 403  # somebody known: always told

    async def end() -> None:
        task = asyncio.create_task(tell_denied_requests_for_ever(access))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(end())
    lines = [(line["code"], line.get("path"), line.get("detail")) for line in log_of(access)]
    assert lines == [
        ("unauthorized", "/v1/slides/0", None),
        ("scope_missing", "/v1/slides", None),
        ("unauthorized", None, "49 more of the kind within 60 s"),
    ]
    assert access.audit.verify().lines == 3
