"""Gateway and workers do not start with an OpenSlide that is known to be unsafe."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from server.process import gateway
from workers import __main__ as worker
from workers.core.errors.intake import ReaderOutdated
from workers.core.slides import versions
from workers.core.slides.versions import WHEEL_MIN, check_readers


def install(monkeypatch: pytest.MonkeyPatch, library: str, wheel: str | None) -> None:
    def version(name: str) -> str:
        assert name == "openslide-bin"
        if wheel is None:
            raise PackageNotFoundError(name)
        return wheel

    monkeypatch.setattr("openslide.__library_version__", library)
    monkeypatch.setattr(versions, "version", version)


def test_what_is_installed_is_good_and_what_is_asked_for_is_what_is_declared(repo_root: Path) -> None:
    check_readers()
    declared = re.search(r'"openslide-bin>=([\d.]+)"', (repo_root / "pyproject.toml").read_text())
    assert declared is not None
    assert declared[1] == WHEEL_MIN


@pytest.mark.parametrize(
    ("library", "wheel", "is_good"),
    [
        ("4.0.1", "4.0.1.2", True),
        ("4.0.1", None, True),
        ("4.0.10", "4.0.10.1", True),
        ("5.0.0-31-gabcdef", None, True),
        ("4.0.0", None, False),
        ("3.4.1", None, False),
        ("4.0.1", "4.0.1.1", False),
        ("4.0.0", "4.0.0.13", False),
    ],
)
def test_older_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch, library: str, wheel: str | None, is_good: bool
) -> None:
    install(monkeypatch, library, wheel)
    if is_good:
        check_readers()
    else:
        with pytest.raises(ReaderOutdated, match="a crafted slide can use"):
            check_readers()


def test_neither_gateway_nor_worker_starts_with_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    install(monkeypatch, "4.0.0", None)
    monkeypatch.setenv("LDIFFUSION_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("uvicorn.Server", lambda config: pytest.fail("it served"))
    monkeypatch.setattr(worker, "work", lambda *arguments: pytest.fail("it worked"))
    assert gateway.main([]) == 2
    assert worker.main([]) == 1
    said = [record.getMessage() for record in caplog.records if "reader_outdated" in record.getMessage()]
    assert len(said) == 2
    assert all("OpenSlide 4.0.0 has faults" in line for line in said)
