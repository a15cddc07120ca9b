import logging

import pytest

from server.process.gateway import is_worth_a_line

JOB = "0" * 32


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        (("GET", "/healthz", 200), False),
        (("GET", f"/v1/jobs/{JOB}", 200), False),
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
    record = logging.makeLogRecord(
        {"msg": '%s - "%s %s HTTP/%s" %d', "args": ("127.0.0.1:1", method, path, "1.1", status)}
    )
    assert is_worth_a_line(record) is expected
