"""Lines of JSON: always one, always valid, and nothing in them that somebody else wrote."""

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.core.errors.base import SlideUnreadable
from workers.core.store import new_id
from workers.core.telemetry.logs import HIDDEN, JsonLines, Private, about, note

NAME = "Müller-1954.svs"
Log = Callable[[str], logging.Logger]


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(written: io.StringIO) -> Iterator[Log]:
    """Return a function that gives a logger of a name, which writes JSON."""
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines("worker", lambda: {"request": "r-1"}))
    loggers: list[logging.Logger] = []

    def make(name: str) -> logging.Logger:
        logger = logging.getLogger(f"{name}.{new_id()}")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(handler)
        loggers.append(logger)
        return logger

    yield make
    for logger in loggers:
        logger.removeHandler(handler)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_says_when_where_and_what_it_is_about(log: Log, written: io.StringIO) -> None:
    job_id, slide_id = new_id(), new_id()
    log("server.made").warning("job %s waits for slide %s for %.1f s", job_id, slide_id, 2.04)
    (line,) = lines(written)
    assert line["message"] == f"job {job_id} waits for slide {slide_id} for 2.0 s"
    assert (line["job"], line["slide"], line["request"]) == (job_id, slide_id, "r-1")
    assert (line["level"], line["process"], line["pid"]) == ("warning", "worker", os.getpid())
    assert line["time"].endswith("+00:00")


def test_what_a_task_is_about_is_in_all_of_its_lines(log: Log, written: io.StringIO) -> None:
    logger = log("workers.made")
    note(slide="nobody's")
    with about(job="j"):
        logger.info("one")
        note(slide="s")
        logger.info("two")
    logger.info("three")
    assert [(line.get("job"), line.get("slide")) for line in lines(written)] == [("j", None), ("j", "s"), (None, None)]


def raise_behind(value: object) -> None:
    raise ValueError(NAME) from (value if isinstance(value, BaseException) else None)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (FileNotFoundError(2, "No such file", f"/data/{NAME}"), "FileNotFoundError ENOENT"),
        (ValueError(NAME), "ValueError"),
        (SlideUnreadable("The file cannot be read.", value=NAME), "slide_unreadable"),
        (Private(NAME), HIDDEN),
        (Path("/data") / NAME, HIDDEN),
        (Path("/data/slides") / ("0" * 32) / NAME, "0" * 32),
        ({"path": NAME}, HIDDEN),
        ((NAME,), HIDDEN),
        (7, "7"),
    ],
)
def test_of_a_value_only_what_nobody_else_wrote_is_told(
    log: Log, written: io.StringIO, value: object, told: str
) -> None:
    logger = log("server.made")
    logger.error("it is: %s!", value)
    try:
        raise_behind(value)
    except ValueError:
        logger.exception("it is: %s!", value)
    plain, raised = lines(written)
    assert plain["message"] == raised["message"] == f"it is: {told}!"
    assert raised["error"]["type"] == "ValueError"
    assert "test_logs.py" in raised["error"]["at"][-1]
    assert "1954" not in written.getvalue()


def test_text_logs_still_say_all() -> None:
    record = logging.LogRecord("server.made", 20, "", 1, "it is: %s", (Private(NAME),), None)
    assert logging.Formatter().format(record) == f"it is: {NAME}"


def test_what_others_log_is_told_by_its_template(log: Log, written: io.StringIO) -> None:
    logger = log("tifffile")
    logger.warning("cannot read %s", NAME)
    logger.warning(f"cannot read {NAME}")  # noqa: G004 - as it does
    logger.warning(NAME, exc_info=OSError(NAME))
    first, second, third = lines(written)
    assert (first["message"], second["message"]) == ("cannot read %s", HIDDEN)
    assert third["error"] == {"type": "OSError", "at": []}
    assert "1954" not in written.getvalue()


@given(st.text(), st.lists(st.text() | st.integers() | st.none() | st.floats(), max_size=3), st.booleans())
def test_there_is_a_line_of_whatever_is_logged(template: str, args: list[object], ours: bool) -> None:
    name = "server.made" if ours else "others"
    record = logging.LogRecord(name, 20, "", 1, template, tuple(args), None)
    line = JsonLines("gateway").format(record)
    assert "\n" not in line
    assert json.loads(line)["logger"] == name
