"""What the log of accesses holds, and what must never be in it."""

import logging
from collections.abc import Iterator

import pytest

from server.process.access_log import guard_access_log, is_worth_a_line, keep_private, told_path

JOB = "0" * 32


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (("GET", "/healthz", 200), False),
        (("GET", f"/v1/jobs/{JOB}", 200), False),
        (("HEAD", "/healthz", 200), False),
        (("GET", "/readyz", 503), True),
        (("GET", f"/v1/jobs/{JOB}/result", 200), True),
        (("DELETE", f"/v1/jobs/{JOB}", 200), True),
        (("PUT", "/v1/slides?filename=/healthz", 201), True),
        (("GET", f"/lab/wsi/v1/jobs/{JOB}", 200), False),
        (("GET", "/v1/slides?cursor=/healthz", 200), True),
    ],
)
def test_polls_that_are_answered_are_not_logged(access: tuple[str, str, int], expected: bool) -> None:
    method, path, status = access
    assert is_worth_a_line(record_of(method, path, status)) is expected


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("/v1/slides?filename=Mueller%2C+Hans.svs", "/v1/slides"),
        (f"/v1/jobs/{JOB}/overlay.ome.tif?expires=1&tenant=a&signature=SECRET", f"/v1/jobs/{JOB}/overlay.ome.tif"),
        (f"/v1/jobs/{JOB}/labels.ome.zarr/0/c/0/1", f"/v1/jobs/{JOB}/labels.ome.zarr/0/c/0/1"),
        ("/v1/slides/Mueller%20Hans.svs", "/v1/slides/…"),
        ("/v1/slides/mueller.svs/1/x.jpeg", "/v1/slides/…/1/…"),
        (f"/v1/slides/{JOB}/M%C3%BCller", f"/v1/slides/{JOB}/…"),
        ("/lab/wsi/v1/models/nuclei-fast", "/lab/wsi/v1/models/nuclei-fast"),
        ("/assets/index-BxQ1.js", "/assets/index-BxQ1.js"),
        ("/", "/"),
    ],
)
def test_a_line_has_the_path_and_nobodys_name(target: str, told: str) -> None:
    record = record_of("GET", target, 200)
    assert keep_private(record)
    assert record.getMessage() == f'127.0.0.1:1 - "GET {told} HTTP/1.1" 200'
    assert told_path(told) == told or "…" in told


@pytest.fixture
def bare_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("uvicorn.access")
    before = logger.filters[:]
    yield logger
    logger.filters[:] = before


def test_a_tile_by_a_signed_link_is_a_poll_too(bare_logger: logging.Logger) -> None:
    guard_access_log()
    tile = f"/v1/slides/{JOB}/slide_files/1/2_3.jpeg?expires=1&signature=SECRET"
    assert not bare_logger.filter(record_of("GET", tile, 200))
    refused = record_of("GET", tile, 403)
    assert bare_logger.filter(refused)
    assert "SECRET" not in refused.getMessage()


def record_of(method: str, path: str, status: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"msg": '%s - "%s %s HTTP/%s" %d', "args": ("127.0.0.1:1", method, path, "1.1", status)}
    )
