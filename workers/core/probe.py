"""Opens a stranger's slide in a child process with limits, so that a hostile file can harm nothing but the child.

`probe` is the parent's side. `python -m workers.core.probe` is the child's: it locks itself in, checks the structure,
opens the slide, checks its numbers, then decodes three places of every level. It says one JSON object on stdout.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Literal

from pydantic import ValidationError

from workers.core.errors import Invalid, LDiffusionError, SlideTooLarge, SlideUnreadable
from workers.core.schemas import Frozen, SlideGeometry
from workers.core.settings import Settings
from workers.core.slides import Slide, open_slide
from workers.core.tiff_structure import check_tiff

logger = logging.getLogger(__name__)

MAX_LEVELS = 64
MAX_SIDE = 2**24
TILE_PX = 256
OUTPUT_MAX_BYTES = 2**20
MAX_OPEN_FILES = 64

SEVERAL_FILES = ("mirax", "hamamatsu")
"""Formats whose uploaded part says where the others lie: it could name any file of the server. NDPI is a TIFF."""

_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_NO_NEW_PRIVS = 0x10000000, 0x40000000, 38


class ProbeReport(Frozen):
    """What a probe found."""

    vendor: str
    backend: Literal["openslide", "tiffslide"]
    geometry: SlideGeometry


class ProbeLimits(Frozen):
    """What the child may use; its command line carries it."""

    cpu_s: int
    memory_bytes: int
    max_pixels: int


class _Answer(Frozen):
    """What the child says: one of the two."""

    report: ProbeReport | None = None
    error: dict[str, str | None] | None = None


def probe(path: Path, settings: Settings) -> ProbeReport:
    """Open a slide and read a few places of every level in a child process with limits.

    The child works in the folder of `path` and is told the bare name, so no message can hold a path of the server.

    Raises:
        SlideUnreadable: No reader takes the file, it is cut off, or the child crashed or ran out of time or memory.
        SlideTooLarge: The slide's own numbers are past the limits.
    """
    limits = ProbeLimits(
        cpu_s=settings.probe_cpu_s, memory_bytes=settings.probe_memory_bytes, max_pixels=settings.slide_max_pixels
    )
    command = [sys.executable, "-P", "-m", "workers.core.probe", limits.model_dump_json(), path.name]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            command,
            cwd=path.parent,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            child.wait(settings.probe_timeout_s)
        except subprocess.TimeoutExpired as error:
            raise SlideUnreadable(
                f"Reading a few places of the slide took more than {settings.probe_timeout_s:g} seconds."
            ) from error
        finally:
            _end(child)
        return _report(child.returncode, output, complaints)


def _environment() -> dict[str, str]:
    """Return all that the child may see of our environment: nothing secret, and the same packages."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _report(status: int, output: IO[bytes], complaints: IO[bytes]) -> ProbeReport:
    output.seek(0)
    complaints.seek(0)
    try:
        answer = _Answer.model_validate_json(output.read(OUTPUT_MAX_BYTES))
    except ValidationError:
        answer = _Answer()
    if answer.error is not None:
        raise _as_error(answer.error)
    if status != 0 or answer.report is None:
        logger.warning("the slide probe ended with %d: %s", status, complaints.read(OUTPUT_MAX_BYTES)[-2000:])
        ending = f"signal {-status}" if status < 0 else f"status {status}"
        raise SlideUnreadable(f"The reader gave up on this file ({ending}): it is damaged, or asks for too much.")
    return answer.report


def _as_error(body: dict[str, str | None]) -> Invalid:
    kind = SlideTooLarge if body.get("code") == SlideTooLarge.code else SlideUnreadable
    return kind(
        body.get("message") or "The slide cannot be read.", value=body.get("value"), accepted=body.get("accepted")
    )


def examine(path: Path, max_pixels: int) -> ProbeReport:
    """Check the structure, open the slide, check its numbers, decode three places of every level: the child's work.

    Raises:
        SlideUnreadable: The file is damaged, cut off or no slide.
        SlideTooLarge: The slide's own numbers are past the limits.
    """
    is_tiff = check_tiff(path)
    with open_slide(path) as slide:
        if slide.vendor in SEVERAL_FILES and not is_tiff:
            raise SlideUnreadable(
                "This file is one part of a slide of several files, and names the others itself.",
                value=slide.vendor,
                accepted="a slide that is one file",
            )
        _check_numbers(slide.geometry, max_pixels)
        _decode_places(slide)
        return ProbeReport(vendor=slide.vendor, backend=slide.backend, geometry=slide.geometry)


def _check_numbers(geometry: SlideGeometry, max_pixels: int) -> None:
    claims = (
        ("pixels", geometry.l0_width * geometry.l0_height, max_pixels),
        ("pixels on one side", max(geometry.l0_width, geometry.l0_height), MAX_SIDE),
        ("levels", len(geometry.levels), MAX_LEVELS),
    )
    for name, value, limit in claims:
        if value > limit:
            raise SlideTooLarge(f"The slide has too many {name}.", value=value, accepted=f"at most {limit}")


def _decode_places(slide: Slide) -> None:
    for level, size in enumerate(slide.geometry.levels):
        last_x, last_y = max(size.width - TILE_PX, 0), max(size.height - TILE_PX, 0)
        for lv_x, lv_y in sorted({(0, 0), (last_x // 2, last_y // 2), (last_x, last_y)}):
            slide.read_level(level, lv_x, lv_y, min(TILE_PX, size.width), min(TILE_PX, size.height))


def _lock_in(limits: ProbeLimits) -> None:
    """Give up memory, CPU, files and, where the kernel lets us, the network, for good."""
    for kind, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, OUTPUT_MAX_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET) != 0:  # needs a privilege …
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # … which a namespace of its own gives, where that is allowed


def _main(arguments: list[str]) -> int:
    limits = ProbeLimits.model_validate_json(arguments[0])
    _lock_in(limits)
    try:
        answer = _Answer(report=examine(Path(arguments[1]), limits.max_pixels))
    except LDiffusionError as error:
        answer = _Answer(error=error.as_dict())
    except MemoryError:
        too_much = SlideUnreadable("Reading the slide takes more memory than a probe may have.")
        answer = _Answer(error=too_much.as_dict())
    sys.stdout.write(json.dumps(answer.model_dump(mode="json")))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
