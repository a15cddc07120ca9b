"""Rate limits and quotas, how often and how much: token buckets, in this process and of bounded size."""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from server.access.principals import Principal
from workers.core.errors.access import QuotaExceeded, RateLimited
from workers.core.schemas import FINAL_STATES, JobState
from workers.core.settings import Settings

BUCKETS_MAX = 10_000
"""Of each kind. Above, the one that was asked the longest ago is forgotten, and begins full again."""

IPV6_BLOCK = 64
"""Bits of an IPv6 address that count: one machine commands all addresses of such a block."""

ALONE_S = 1.0
"""Whoever was let in within so many seconds is there."""

JOBS_RETRY_S = 30.0
RATE = "requests"
"""What the headers call the limit of requests."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a limit is left, as the headers of an answer tell it (draft-ietf-httpapi-ratelimit-headers).

    Attributes:
        burst: Requests of a full bucket.
        window_s: Seconds in which an empty bucket becomes full.
        left: Requests that may come at once.
        more_in_s: Seconds until there is one more; None if there is no more to have.
    """

    burst: int
    window_s: float
    left: int
    more_in_s: float | None

    def headers(self) -> dict[str, str]:
        """Return `RateLimit-Policy` and `RateLimit`. Seconds are whole there, and are rounded up."""
        more = "" if self.more_in_s is None else f";t={max(1, ceil(self.more_in_s))}"
        return {
            "ratelimit-policy": f'"{RATE}";q={self.burst};w={max(1, ceil(self.window_s))}',
            "ratelimit": f'"{RATE}";r={self.left}{more}',
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made for a tenant.

    Attributes:
        jobs: So many.
        size_bytes: What their results will take of the disk at most, with the record of a batch.
        batches: So many.
    """

    jobs: int = 0
    size_bytes: int = 0
    batches: int = 0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float
    is_refusing: bool = False


class Buckets:
    """One token bucket for each name.

    Args:
        rate_per_s: Tokens that come back each second.
        burst: Tokens of a full bucket.
        most: Names that are remembered.
    """

    def __init__(self, rate_per_s: float, burst: int, most: int = BUCKETS_MAX) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now: float) -> None:
        """Take one token.

        Args:
            name: Whose.
            now: Seconds of a clock that never goes back.

        Raises:
            RateLimited: The bucket is empty; it says when it will not be.
        """
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(float(self._burst), now)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.filled_at) * self._rate_per_s)
        bucket.filled_at = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            bucket.is_refusing = False
            return
        is_first, bucket.is_refusing = not bucket.is_refusing, True
        raise RateLimited(self._rate_per_s, (1 - bucket.tokens) / self._rate_per_s, is_first=is_first)

    def standing(self, name: str) -> Standing:
        """Return how much was left when a token was last taken, or refused; of a name that is not known, all."""
        bucket = self._buckets.get(name)
        tokens = float(self._burst) if bucket is None else bucket.tokens
        missing = 1 - tokens % 1 if tokens < self._burst else None
        return Standing(
            burst=self._burst,
            window_s=self._burst / self._rate_per_s,
            left=int(tokens),
            more_in_s=None if missing is None else missing / self._rate_per_s,
        )


class Rates:
    """The rate limits of a gateway. Addresses and keys have buckets apart: no flood of addresses makes a key forgotten.

    Args:
        settings: Rate and burst.
    """

    def __init__(self, settings: Settings) -> None:
        self.known = Buckets(settings.request_rate_per_s, settings.request_burst)
        self.unknown = Buckets(settings.request_rate_per_s, settings.request_burst)
        self._let_in: OrderedDict[str, float] = OrderedDict()  # tenants, whoever was there last at the end

    def admit(self, principal: Principal, now: float) -> None:
        """Count a request of somebody who is known: by key, or for a link by tenant. An open server counts nothing.

        Raises:
            RateLimited.
        """
        if principal.means != "open":
            self.known.take(_name_of(principal), now)
            self._let_in[principal.tenant] = now
            self._let_in.move_to_end(principal.tenant)
            if len(self._let_in) > BUCKETS_MAX:
                self._let_in.popitem(last=False)

    def is_alone(self, tenant: str, now: float) -> bool:
        """Whether nobody else was there lately: all that the server can is this tenant's."""
        other = next((each for each in reversed(self._let_in) if each != tenant), None)
        return other is None or now - self._let_in[other] > ALONE_S

    def standing(self, principal: Principal) -> Standing | None:
        """Return how much of its rate somebody has left who was just counted; None if nothing is counted."""
        return None if principal.means == "open" else self.known.standing(_name_of(principal))

    def turn_away(self, address: str, now: float) -> None:
        """Count a request of somebody who is not known.

        Raises:
            RateLimited.
        """
        self.unknown.take(block_of(address), now)


def _name_of(principal: Principal) -> str:
    return f"{principal.means} {principal.key_id or principal.tenant}"


def block_of(address: str) -> str:
    """Return what an address is counted as: an IPv4 address, the block of an IPv6 address, or the text itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_BLOCK), strict=False))


def check_storage(tenant: str, stored: Iterable[tuple[str, int]], wanted_bytes: int, quota_bytes: int) -> None:
    """Refuse an upload, or results, that a tenant has no room for.

    Args:
        tenant: Whose they are.
        stored: (tenant, bytes) of everything, and of uploads and jobs under way with all the bytes they will have:
            otherwise two at once fit where one does.
        wanted_bytes: What it claims to bring; 0 if it does not say, and then again once it is known.
        quota_bytes: What one tenant may have; 0: no limit.

    Raises:
        QuotaExceeded.
    """
    if not quota_bytes:
        return
    held = sum(size for owner, size in stored if owner == tenant)
    if held + wanted_bytes > quota_bytes or held >= quota_bytes:
        raise QuotaExceeded(
            "The tenant has no room for this; delete slides or jobs first.",
            value=f"{held} bytes stored, {wanted_bytes} more wanted",
            accepted=f"{quota_bytes} bytes in all",
        )


def check_batches(count: int, wanted: int, most: int) -> None:
    """Refuse a batch of a tenant that has as many as it may.

    Args:
        count: Batches that it has.
        wanted: How many more.
        most: How many it may have.

    Raises:
        QuotaExceeded.
    """
    if wanted and count + wanted > most:
        raise QuotaExceeded(
            "The tenant has too many batches; delete those that are done.",
            value=f"{count} batches",
            accepted=f"{most} batches",
        )


def check_jobs(tenant: str, jobs: Iterable[tuple[str, JobState]], wanted: int, quota_jobs: int) -> None:
    """Refuse jobs whose tenant has too many that are not finished.

    Args:
        tenant: Whose jobs they are.
        jobs: (tenant, state) of every job.
        wanted: How many more.
        quota_jobs: How many of one tenant may be unfinished; 0: no limit.

    Raises:
        QuotaExceeded.
    """
    if not quota_jobs:
        return
    unfinished = sum(owner == tenant and state not in FINAL_STATES for owner, state in jobs)
    if unfinished + wanted > quota_jobs:
        raise QuotaExceeded(
            "The tenant has too many unfinished jobs.",
            value=f"{unfinished} unfinished, {wanted} more wanted",
            accepted=f"{quota_jobs} unfinished jobs",
            retry_after_s=JOBS_RETRY_S,
        )
