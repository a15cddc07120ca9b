"""Token buckets against a literal simulation, memory that does not grow, and quotas."""

import copy
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.limits import ALONE_S, Buckets, Rates, Standing, block_of, check_jobs, check_storage
from server.access.principals import LOCAL, Principal, link_principal
from workers.core.errors.access import QuotaExceeded, RateLimited
from workers.core.schemas import JobState
from workers.core.settings import Settings


def passes(buckets: Buckets, name: str, now: float) -> bool:
    try:
        buckets.take(name, now)
    except RateLimited:
        return False
    return True


@given(
    pauses=st.lists(st.integers(0, 40), max_size=60),
    rate=st.sampled_from([1, 2, 4, 8]),
    burst=st.integers(1, 6),
)
def test_a_bucket_lets_through_what_a_literal_one_does(pauses: list[int], rate: int, burst: int) -> None:
    """Times are sixteenths of a second and rates powers of two: floats hold all of it exactly."""
    buckets, tokens, before, now = Buckets(rate, burst), Fraction(burst), Fraction(0), Fraction(0)
    for pause in pauses:
        now += Fraction(pause, 16)
        tokens = min(Fraction(burst), tokens + (now - before) * rate)
        before = now
        expected = tokens >= 1
        tokens -= expected
        assert passes(buckets, "a", float(now)) == expected


def test_a_refusal_says_when_to_come_again_and_that_is_true() -> None:
    buckets = Buckets(rate_per_s=0.5, burst=1)
    buckets.take("a", 10.0)
    with pytest.raises(RateLimited) as caught:
        buckets.take("a", 10.5)
    assert caught.value.retry_after_s == 1.5
    assert not passes(buckets, "a", 11.9)
    assert passes(buckets, "a", 12.0)


def test_names_do_not_share_a_bucket() -> None:
    buckets = Buckets(1, 1)
    assert passes(buckets, "a", 0)
    assert not passes(buckets, "a", 0)
    assert passes(buckets, "b", 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=30), st.integers(0, 20))
def test_a_tenant_is_alone_while_no_other_was_let_in_lately(asked: list[tuple[str, int]], later: int) -> None:
    """Times are eighths of a second."""
    rates, now, last = Rates(Settings()), 0.0, dict[str, float]()
    for tenant, pause in asked:
        now += pause / 8
        rates.admit(link_principal(tenant), now)
        last[tenant] = now
    now += later / 8
    for tenant in "abcd":
        others = [now - at for other, at in last.items() if other != tenant]
        assert rates.is_alone(tenant, now) == all(since > ALONE_S for since in others)


def test_who_is_not_let_in_is_not_there() -> None:
    rates = Rates(Settings(request_burst=1, request_rate_per_s=0.001))
    rates.admit(link_principal("a"), 0)
    with pytest.raises(RateLimited):
        rates.admit(link_principal("a"), 100)
    assert rates.is_alone("b", 100)
    rates.admit(LOCAL, 100)  # an open server has one tenant
    assert rates.is_alone("b", 100)


def test_of_a_run_of_refusals_only_the_first_is_marked() -> None:
    buckets, marks = Buckets(1, 1), []
    for now in (0.0, 0.1, 0.2, 1.2, 1.3, 1.4):
        try:
            buckets.take("a", now)
        except RateLimited as error:
            marks.append((now, error.is_first))
    assert marks == [(0.1, True), (0.2, False), (1.3, True), (1.4, False)]


def test_a_flood_of_names_takes_no_more_memory_than_is_given() -> None:
    buckets = Buckets(1, 1, most=100)
    for number in range(1000):
        buckets.take(str(number), 0.0)
    assert len(buckets) == 100
    assert not passes(buckets, "999", 0.0)  # the latest are remembered
    assert passes(buckets, "0", 0.0)


def test_keys_are_not_forgotten_for_a_flood_of_addresses() -> None:
    rates = Rates(Settings(request_rate_per_s=1, request_burst=1))
    principal = Principal("a", frozenset({"read"}), "key", "k1")
    rates.admit(principal, 0.0)
    for number in range(20_000):
        rates.turn_away(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    with pytest.raises(RateLimited):
        rates.admit(principal, 0.0)


def test_each_key_and_the_links_of_each_tenant_are_counted_apart_and_an_open_server_counts_nothing() -> None:
    rates = Rates(Settings(request_rate_per_s=1, request_burst=1))
    callers = [Principal("a", frozenset({"read"}), "key", name) for name in ("k1", "k2")]
    for caller in (*callers, link_principal("a"), link_principal("b")):
        rates.admit(caller, 0.0)
        with pytest.raises(RateLimited):
            rates.admit(caller, 0.0)
    for _ in range(10):
        rates.admit(LOCAL, 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),  # a machine has the whole block
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("/run/socket", "192.0.2.1", False),
    ],
)
def test_addresses_that_one_machine_commands_count_as_one(one: str, other: str, *, same: bool) -> None:
    assert (block_of(one) == block_of(other)) == same


@given(pauses=st.lists(st.integers(0, 40), max_size=30), rate=st.sampled_from([1, 2, 4]), burst=st.integers(1, 6))
def test_what_is_told_to_be_left_is_left_and_more_comes_when_it_is_told(
    pauses: list[int], rate: int, burst: int
) -> None:
    buckets, now = Buckets(rate, burst), 0.0
    assert buckets.standing("a") == Standing(burst, burst / rate, burst, None)
    for pause in pauses:
        now += pause / 16
        passes(buckets, "a", now)
        told = buckets.standing("a")
        tried = copy.deepcopy(buckets)
        assert sum(passes(tried, "a", now) for _ in range(burst + 1)) == told.left
        assert told.more_in_s is not None
        assert passes(tried, "a", now + told.more_in_s)
        assert 0 < told.more_in_s <= 1 / rate


def test_the_headers_are_whole_numbers_by_the_name_of_the_limit() -> None:
    assert Standing(1000, 10.0, 999, 0.01).headers() == {
        "ratelimit-policy": '"requests";q=1000;w=10',
        "ratelimit": '"requests";r=999;t=1',
    }
    assert Standing(3, 0.3, 3, None).headers() == {
        "ratelimit-policy": '"requests";q=3;w=1',
        "ratelimit": '"requests";r=3',
    }


# --- quotas -----------------------------------------------------------------------------------------------------------


STORED = [("a", 40), ("b", 1000), ("a", 50)]


@pytest.mark.parametrize(("wanted", "fits"), [(0, True), (10, True), (11, False)])
def test_a_tenant_has_room_up_to_its_quota_whatever_others_hold(wanted: int, *, fits: bool) -> None:
    if fits:
        check_storage("a", STORED, wanted, 100)
        return
    with pytest.raises(QuotaExceeded) as caught:
        check_storage("a", STORED, wanted, 100)
    assert caught.value.value == "90 bytes stored, 11 more wanted"


def test_an_upload_that_does_not_say_its_size_is_refused_where_nothing_fits() -> None:
    with pytest.raises(QuotaExceeded):
        check_storage("a", STORED, 0, 90)


def test_without_a_quota_nothing_is_counted() -> None:
    check_storage("a", STORED, 10**15, 0)
    check_jobs("a", [("a", "running")] * 1000, 10, 0)


def test_only_unfinished_jobs_of_the_tenant_count() -> None:
    states: list[JobState] = ["queued", "planning", "running", "finishing", "succeeded", "failed", "canceled"]
    jobs = [("a", state) for state in states] + [("b", state) for state in states]
    check_jobs("a", jobs, 1, 5)
    with pytest.raises(QuotaExceeded) as caught:
        check_jobs("a", jobs, 2, 5)
    assert caught.value.value == "4 unfinished, 2 more wanted"
    assert caught.value.retry_after_s is not None
