"""The audit log: complete, chained, private, without secrets; checked by a reader written here."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.access.audit import AuditLog, Event
from server.access.signing import Links
from server.cli.main import main
from workers.core.errors.access import AuditBroken

LARGE = 10**9


def event(path: str = "/v1/slides", **fields: Any) -> Event:
    return Event(action="change", by="key", tenant="a", key_id="k", method="PUT", status=201, path=path, **fields)


def written(folder: Path, count: int, max_bytes: int = LARGE) -> AuditLog:
    log = AuditLog(folder, max_bytes)
    for number in range(count):
        log.append(event(f"/v1/slides/{number}"))
    return log


def chained(files: list[Path]) -> list[dict[str, Any]]:
    """Lines of a whole log, by the rule in a few words: each holds the SHA-256 of the one before."""
    raw = [line for path in files for line in path.read_text().splitlines()]
    lines: list[dict[str, Any]] = [json.loads(line) for line in raw]
    digests = ["0" * 64, *(hashlib.sha256(line.encode()).hexdigest() for line in raw)]
    assert [line["previous"] for line in lines] == digests[:-1]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    return lines


# --- what is written --------------------------------------------------------------------------------------------------


def test_every_line_holds_the_digest_of_the_one_before(tmp_path: Path) -> None:
    log = written(tmp_path, 5)
    lines = chained([tmp_path / "audit.jsonl"])
    assert [line["path"] for line in lines] == [f"/v1/slides/{number}" for number in range(5)]
    assert {"action", "by", "tenant", "key_id", "method", "status", "at"} <= set(lines[0])
    head = hashlib.sha256((tmp_path / "audit.jsonl").read_bytes().splitlines()[-1]).hexdigest()
    assert log.verify().model_dump() == {"lines": 5, "first": 1, "last": 5, "torn": 0, "head": head}
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    assert AuditLog(tmp_path, LARGE).verify().lines == 0


def test_rotation_by_size_keeps_the_chain(tmp_path: Path) -> None:
    log = written(tmp_path, 30, max_bytes=2000)
    files = log.files()
    assert len(files) > 3
    assert files[0].name == "audit-000000000001.jsonl"
    assert all(path.stat().st_size < 2000 + 400 for path in files)
    assert len(chained(files)) == 30
    assert log.verify().lines == 30


@pytest.mark.process
def test_processes_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from server.access.audit import AuditLog, Event\n"
        "log = AuditLog(Path(sys.argv[1]), 3000)\n"
        "for number in range(25): log.append(Event(action='change', detail=f'{sys.argv[2]} {number}'))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(who)]) for who in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    lines = chained(AuditLog(tmp_path, LARGE).files())
    assert {line["detail"] for line in lines} == {f"{who} {number}" for who in range(3) for number in range(25)}


def test_no_secret_is_written_wherever_a_client_puts_it(tmp_path: Path) -> None:
    token = f"ldk_{'a' * 16}_{'b' * 64}"
    signature = Links(b"s" * 32, 600).make("a", "/v1/jobs/1/x", 60).query.rpartition("=")[2]
    log = AuditLog(tmp_path, LARGE)
    log.append(event(f"/v1/slides/{token}", detail=f"?signature={signature}&expires=1"))
    log.append(event(f"/v1/{token.upper()}/x"))
    text = (tmp_path / "audit.jsonl").read_text()
    assert "b" * 20 not in text.lower()
    assert signature not in text
    assert "/v1/slides/…" in json.loads(text.splitlines()[0])["path"]


@settings(max_examples=40)
@example(path="\N{SNOWMAN}" * 2000)
@given(path=st.text(max_size=2000))
def test_no_path_makes_two_lines_of_one_or_a_line_without_bounds(
    tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = AuditLog(folder, LARGE)
    log.append(event(path))
    log.append(event())
    content = (folder / "audit.jsonl").read_bytes()
    assert content.count(b"\n") == len(content.splitlines()) == 2
    assert len(content) < 8192
    assert log.verify().lines == 2


# --- what was tampered with -------------------------------------------------------------------------------------------


def broken(log: AuditLog) -> str:
    with pytest.raises(AuditBroken) as caught:
        log.verify()
    return str(caught.value.value)


@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_before_the_last_line_can_be_altered(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = written(folder, 3)
    path = folder / "audit.jsonl"
    content = bytearray(path.read_bytes())
    last = bytes(content).rstrip(b"\n").rfind(b"\n")
    content[int(place * last)] ^= 1 << bit
    path.write_bytes(content)
    broken(log)


def test_a_line_that_is_removed_added_or_moved_is_found(tmp_path: Path) -> None:
    log = written(tmp_path, 5)
    path = tmp_path / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for altered in (
        lines[1:],
        lines[:2] + lines[3:],
        [*lines[:2], lines[1], *lines[2:]],
        [lines[0], lines[2], lines[1], *lines[3:]],
        [*lines[:3], b"{}\n", *lines[3:]],
    ):
        path.write_bytes(b"".join(altered))
        assert broken(log).startswith("audit.jsonl:")
    path.write_bytes(b"".join(lines))
    assert log.verify().lines == 5


def test_an_old_file_that_is_gone_is_found_unless_that_is_allowed(tmp_path: Path) -> None:
    log = written(tmp_path, 30, max_bytes=2000)
    first, second = log.files()[:2]
    kept = second.read_bytes()
    second.unlink()
    assert broken(log)
    with pytest.raises(AuditBroken):
        log.verify(may_begin_later=True)  # the beginning may be absent, a hole in the middle not
    second.write_bytes(kept)
    first.unlink()
    assert broken(log).endswith(":1")
    found = log.verify(may_begin_later=True)
    assert (found.first > 1, found.last) == (True, 30)


def test_an_end_that_is_cut_off_shows_in_the_head(tmp_path: Path) -> None:
    log = written(tmp_path, 5)
    head = log.verify().head
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    assert log.verify().head != head


# --- what breaks ------------------------------------------------------------------------------------------------------


def test_a_line_torn_by_a_crash_stays_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = written(tmp_path, 3)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    log.append(event())
    log.append(event())
    found = log.verify()
    assert (found.lines, found.last, found.torn) == (4, 4, 1)


def test_a_file_that_begins_with_a_torn_line_goes_on_from_the_one_before(tmp_path: Path) -> None:
    log = written(tmp_path, 30, max_bytes=2000)
    (tmp_path / "audit.jsonl").write_bytes(b'{"action":"cha')
    before = log.files()[-2].read_bytes().splitlines()[-1]
    log.append(event())
    line = json.loads((tmp_path / "audit.jsonl").read_bytes().splitlines()[-1])
    assert line["seq"] == json.loads(before)["seq"] + 1
    assert log.verify().torn == 1


def test_half_a_line_on_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written(tmp_path, 2)
    before = (tmp_path / "audit.jsonl").read_bytes()
    write = os.write
    with monkeypatch.context() as full:
        full.setattr("server.access.audit.os.write", lambda descriptor, line: write(descriptor, line[:10]))
        with pytest.raises(OSError, match="half a line"):
            log.append(event())
    assert (tmp_path / "audit.jsonl").read_bytes() == before
    log.append(event())
    assert log.verify().lines == 3


def test_a_log_that_cannot_be_written_is_told_and_does_not_stop_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    AuditLog(tmp_path / "absent", LARGE).record(event("/v1/slides/7"))
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "/v1/slides/7" in caplog.text


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["audit", "verify", "--data-dir", str(tmp_path / "absent")])
    assert result.exit_code == 2
    assert "absent" in result.stderr


def test_the_command_says_whole_or_names_the_line(tmp_path: Path) -> None:
    written(tmp_path, 3)
    line = ["audit", "verify", "--data-dir", str(tmp_path)]
    whole = CliRunner().invoke(main, line)
    assert (whole.exit_code, whole.output[:33]) == (0, "whole: 3 lines, 1 to 3, 0 cut off")
    path = tmp_path / "audit.jsonl"
    path.write_text(path.read_text().replace("/v1/slides/0", "/v1/slides/9"))
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: audit_broken: ")
    assert "audit.jsonl:2" in result.stderr
