"""The door counts connections: whoever waits makes room, whoever is at work stays, and the log is told once."""

import logging
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.forwarded import counted_as
from server.web.connections import Door, Limits, Notices
from workers.core.errors.door import ConnectionsExceeded, ConnectionsExhausted
from workers.core.settings import Settings

MOST, OF_ONE = 6, 3


@dataclass(eq=False)
class Caller:
    address: str
    is_working: bool = False
    is_held: bool = False
    is_gone: bool = False

    def make_room(self) -> None:
        assert not self.is_working
        self.is_gone = True


def door(per_address: int = OF_ONE) -> Door:
    limits = Limits(1000, 10, 500, 1, 1, 1, MOST, per_address)
    return Door(limits, counted_as(Settings(trusted_proxies="10.0.0.0/8")))


STEPS = st.lists(st.tuples(st.sampled_from(["enter", "work", "wait", "read", "leave"]), st.integers(0, 9)), max_size=60)


@given(STEPS)
def test_no_more_than_the_limits_are_ever_in_and_only_those_who_wait_make_room(steps: list[tuple[str, int]]) -> None:
    at = door()
    inside: list[Caller] = []
    for what, number in steps:
        if what == "enter":
            caller = Caller(f"192.0.2.{number % 4}")
            same = [each for each in inside if each.address == caller.address]
            error = at.enter(caller, caller.address)
            inside = [each for each in inside if not each.is_gone]
            if error is None:
                inside.append(caller)
            elif isinstance(error, ConnectionsExceeded):
                assert len(same) == OF_ONE
                assert all(each.is_working for each in same)
            else:
                assert isinstance(error, ConnectionsExhausted)
                assert all(each.is_working for each in inside)
        elif inside:
            caller = inside[number % len(inside)]
            if what == "leave":
                at.leave(caller)
                inside.remove(caller)
            else:
                caller.is_working = what == "work"
                {"work": at.work, "wait": at.wait, "read": at.read}[what](caller)
        assert len(inside) <= MOST
        assert all(sum(each.address == other.address for other in inside) <= OF_ONE for each in inside)
    for each in inside:
        at.leave(each)
    assert not at._guests
    assert not at._waiting
    assert not at._reading
    assert not at._of_address


def test_the_one_that_has_waited_the_longest_makes_room() -> None:
    at, callers = door(), [Caller("192.0.2.1") for _ in range(OF_ONE)]
    for caller in callers:
        assert at.enter(caller, caller.address) is None
    at.work(callers[0])
    at.wait(callers[0])  # it was served, and waits since just now
    assert at.enter(Caller("192.0.2.1"), "192.0.2.1") is None
    assert [caller.is_gone for caller in callers] == [False, True, False]


def test_who_waits_goes_first_and_then_whose_body_has_been_silent_the_longest() -> None:
    at, callers = door(per_address=0), [Caller(f"192.0.2.{number}") for number in range(MOST)]
    for caller in callers:
        assert at.enter(caller, caller.address) is None
    for caller in callers[1:]:
        at.read(caller)
    at.read(callers[1])  # one more byte
    callers[2].is_held = True
    at.work(callers[3])
    order: list[int] = []
    for number in range(4):
        new = Caller(f"198.51.100.{number}")
        assert at.enter(new, new.address) is None
        at.work(new)
        order += [index for index, caller in enumerate(callers) if caller.is_gone and index not in order]
    assert order == [0, 4, 5, 1]
    assert at.enter(Caller("198.51.100.9"), "198.51.100.9") is not None


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("", ""),
    ],
)
def test_a_trusted_proxy_speaks_for_many_and_anybody_else_for_one(address: str, name: str | None) -> None:
    assert counted_as(Settings(trusted_proxies="10.0.0.0/8"))(address) == name


def test_a_proxy_has_as_many_connections_as_there_are() -> None:
    at = door()
    for _ in range(MOST):
        caller = Caller("10.0.0.1")
        assert at.enter(caller, caller.address) is None
        at.work(caller)
    assert isinstance(at.enter(Caller("10.0.0.1"), "10.0.0.1"), ConnectionsExhausted)


def test_without_a_limit_of_one_address_it_may_have_them_all() -> None:
    at = door(per_address=0)
    assert [at.enter(Caller("192.0.2.1"), "192.0.2.1") for _ in range(MOST)] == [None] * MOST


def test_the_log_is_told_at_once_and_then_how_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr("server.web.connections.time.monotonic", lambda: now[0])
    notices = Notices()
    with caplog.at_level(logging.WARNING):
        for second in range(25):
            now[0] = float(second)
            notices.tell("head_too_long", "192.0.2.1")
            notices.tell("request_late", "")
    said = [record.getMessage() for record in caplog.records if "head_too_long" in record.getMessage()]
    assert [int(line.split(" times")[0].rpartition(" ")[2]) for line in said] == [1, 10, 10]
    assert len(caplog.records) == 2 * len(said)
