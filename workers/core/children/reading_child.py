"""`python -m workers.core.children.reading_child`: makes confined children that read slides for a worker.

Each is for one slide, has the folder of that slide left to read, and keeps the slide open until the worker lets go of
it. Pixels are laid into memory that the worker gave with the order.
"""

import mmap
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.core.children import zygote
from workers.core.children.line import ChildLost, receive, send
from workers.core.children.reading import BUFFER_BYTES, Answer, Binding, Opened, Place, Request
from workers.core.children.told import body_of
from workers.core.errors.base import LDiffusionError, SlideUnreadable
from workers.core.slides.doubts import Judged, judge_file
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.readers.stored_tiles import KEPT_BYTES
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tiff.structure import check_tiff

READER_KEPT_BYTES = 2**26
"""Decoded tiles that a child keeps: what the next region touches too, and on slides of up to 14000 px the row below."""

KEPT_SHARE = 8
"""They may be so much of the memory that it may have."""


class SlideSource:
    """A slide that stays open between two requests. One that failed is closed: it might fail for ever after.

    Args:
        path: The file.
        image: The number of the image to read, where the file holds several.
        is_checked: Whether the structure of a TIFF is looked at before it is opened.
        kept_bytes: Decoded tiles that are kept.
    """

    def __init__(self, path: Path, image: int | None, *, is_checked: bool, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._path = path
        self._image = image
        self._is_checked = is_checked
        self._slide: Slide | None = None

    def opened(self) -> Opened:
        """Open it, and return what it says of itself.

        Raises:
            SlideUnreadable, SlideTooLarge: No reader opens it.
        """
        if self._is_checked:
            check_tiff(self._path)
        slide = self._open()
        return Opened(
            backend=slide.backend,
            vendor=slide.vendor,
            geometry=slide.geometry,
            content=slide.content,
            warnings=slide.warnings,
            exact=tuple(sorted(slide.exact)),
        )

    def judged(self) -> Judged:
        """Return what can be told of the slide by a look at its pixels.

        Raises:
            SlideUnreadable: No reader opens it.
        """
        return judge_file(self._path, self._image)

    def read(self, place: Place, out: Pixels) -> None:
        """Lay the pixels of a place.

        Raises:
            SlideUnreadable: A tile cannot be decoded.
        """
        slide, is_sound = self._open(), False
        try:
            slide.read_level(*place, out)
            is_sound = True
        finally:
            if not is_sound:
                self._slide = None
                slide.close()

    def _open(self) -> Slide:
        self._slide = self._slide or open_slide(self._path, self._image, self._kept_bytes)
        return self._slide


def main() -> int:
    """Make children until the worker is gone; return the exit status."""
    return zygote.make_children(_begin)


def _begin(order: bytes, line: socket.socket, files: Sequence[int], has_no_network: bool) -> None:
    binding = Binding.model_validate_json(order)
    with mmap.mmap(files[0], BUFFER_BYTES) as shared:
        os.close(files[0])
        serve(binding, line, shared, has_no_network=has_no_network)


def serve(binding: Binding, line: socket.socket, shared: mmap.mmap, *, has_no_network: bool) -> None:
    """Lock this process in and read what is asked for, until the worker closes the line or asks for nothing any more.

    Args:
        binding: The slide, and the limits.
        line: To the worker.
        shared: Where pixels are laid.
        has_no_network: The network is gone already.
    """
    try:
        zygote.confine(binding.limits, binding.path.parent, has_no_network=has_no_network)
    except (LDiffusionError, OSError) as error:
        refusal = error if isinstance(error, LDiffusionError) else SlideUnreadable("The slide's folder is not there.")
        send(line, Answer(number=receive(line, Request).number, error=body_of(refusal), is_last=True))
        return
    kept_bytes = min(READER_KEPT_BYTES, binding.limits.memory_bytes // KEPT_SHARE)
    source = SlideSource(Path(binding.path.name), binding.image, is_checked=binding.is_checked, kept_bytes=kept_bytes)
    while True:
        try:
            wanted = receive(line, Request, time.monotonic() + binding.idle_s)
        except ChildLost:
            return
        zygote.limit_cpu(binding.cpu_s, binding.limits)
        answer = answered(source, wanted, shared)
        if zygote.has_worked_long(binding.limits):
            answer = answer.model_copy(update={"is_last": True})
        send(line, answer)
        if answer.is_last:
            return


def answered(source: SlideSource, wanted: Request, shared: mmap.mmap) -> Answer:
    """Do what is wanted, and return the answer; pixels lie in the shared memory then."""
    number = wanted.number
    try:
        if wanted.kind == "open":
            return Answer(number=number, opened=source.opened())
        if wanted.kind == "judge":
            return Answer(number=number, judged=source.judged())
        if (place := wanted.place) is not None:
            shape = place.height, place.width, 3
            source.read(place, np.ndarray(shape, np.uint8, buffer=shared, offset=wanted.offset))
        return Answer(number=number)
    except LDiffusionError as error:
        return Answer(number=number, error=body_of(error))
    except MemoryError:
        return Answer(number=number, lacks_memory=True, is_last=True)


if __name__ == "__main__":
    sys.exit(main())
