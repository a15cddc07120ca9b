"""Whoever a worker asks for slides: confined children read them, and what goes wrong there costs a child.

A child that is lost is replaced, and what it was lost at is tried once more by a fresh one. A slide stays open for the
next task, which mostly is about the same.
"""

import fcntl
import logging
import mmap
import os
import threading
from collections import OrderedDict
from itertools import islice
from math import ceil
from pathlib import Path

from workers.core.children.child_slide import ChildSlide
from workers.core.children.held import HeldChild, Key
from workers.core.children.nursery import Nursery
from workers.core.children.reading import BUFFER_BYTES, Binding
from workers.core.children.reading_process import ReadingProcess
from workers.core.confinement.lock import Limits
from workers.core.errors.base import SlideUnreadable
from workers.core.errors.intake import ConfinementFailed
from workers.core.settings import Settings
from workers.core.slides.doubts import Judged, judge_file
from workers.core.slides.slide import Slide
from workers.core.slides.tiff.structure import check_tiff
from workers.core.slides.tolerant import TolerantSlide, open_for

READING_CHILD = "workers.core.children.reading_child"
KEPT = 2
"""Slides that stay open when nobody reads them."""

IDLE_S = 60.0
"""For so long: an open file that is deleted takes room on the disk."""

LINKS_MAX = 1000
"""Of a folder, that are looked after."""

LIFE_REQUESTS = 30
"""A child may take the CPU of so many of the costliest requests in its life. Half of it, and it is replaced."""

logger = logging.getLogger(__name__)


class Readers:
    """Opens slides in children. For any thread; each slide is one thread's.

    Args:
        settings: The limits.
        module: What the children run.
        may_read_here: Where no child can lock itself in, slides are read in this process: they are the user's own.

    Attributes:
        reads_here: Whether they are.
    """

    reads_here = False

    def __init__(self, settings: Settings, module: str = READING_CHILD, *, may_read_here: bool = False) -> None:
        self.settings = settings
        self.turn = 0
        self._nursery = Nursery(module)
        self._may_read_here = may_read_here
        self._lock = threading.Lock()
        self._idle: OrderedDict[Key, ReadingProcess] = OrderedDict()
        self._busy: set[ReadingProcess] = set()

    def start(self) -> None:
        """Have children ready to be made; does not wait for it."""
        self._nursery.start()

    def open(self, path: Path, on_bad_tile: str = "fail", image: int | None = None, name: str | None = None) -> Slide:
        """Open a slide as a job wants it: a bad tile is an error, or it is white and noted.

        Args:
            path: The file.
            on_bad_tile: As in `JobRequest`.
            image: The number of the image to read, where the file holds several.
            name: Of the slide, for errors; that of the file if there is none.

        Raises:
            SlideUnreadable, SlideTooLarge: No reader opens it.
            SlideReaderFailed, SlideReadTimeout: Its reader crashed, or stood still.
            ConfinementFailed, Unavailable: There are no children.
        """
        if not self.reads_here:
            try:
                return self._open(path, on_bad_tile, image, name or path.name)
            except ConfinementFailed as error:
                if not self._may_read_here:
                    raise
                logger.warning("slides are read in this process: %s", error.message)
                self.reads_here = True
        if self._may_read_here and path.is_file():
            check_tiff(path)
        return open_for(path, on_bad_tile, image)

    def judge(self, path: Path, image: int | None = None) -> Judged:
        """Return what can be told of a slide by a look at its pixels; errors as for `open`."""
        if self.reads_here:
            return judge_file(path, image)
        held = HeldChild(self, _key(path, image), path.name)
        try:
            return held.do(lambda child: child.judge(), "all of it")
        finally:
            held.release()

    def abandon(self) -> None:
        """End the children that read: nobody wants any more what is waited for. For any thread."""
        with self._lock:
            self.turn += 1
            busy = list(self._busy)
        for child in busy:
            child.kill()

    def close(self) -> None:
        """End all children."""
        self._trim(0)
        self._nursery.stop()

    @property
    def idle(self) -> list[Path]:
        """The slides that are open and not read, the least recently used first."""
        with self._lock:
            return [key.path for key in self._idle]

    def take(self, key: Key) -> ReadingProcess:
        """Return a child that has a slide open: the one that waits, or a new one.

        Raises:
            ChildLost: It was lost when it opened the slide.
            SlideUnreadable, SlideTooLarge, ConfinementFailed, Unavailable: As for `open`.
        """
        with self._lock:
            waiting = self._idle.pop(key, None)
            if waiting is not None and not waiting.is_stale:
                self._busy.add(waiting)
                return waiting
        if waiting is not None:
            waiting.end()
        child, is_open = self._child(key), False
        with self._lock:
            self._busy.add(child)
        try:
            error = child.open()
            is_open = error is None
        finally:
            if not is_open:
                self.lose(child)
        if error is not None:
            raise error
        return child

    def give_back(self, key: Key, child: ReadingProcess) -> None:
        """Keep a child for whoever reads the slide next."""
        if not child.is_quiet:
            self.lose(child)
            return
        with self._lock:
            self._busy.discard(child)
            replaced = self._idle.pop(key, None)
            self._idle[key] = child
        if replaced is not None:
            replaced.end()
        self._trim(KEPT)

    def lose(self, child: ReadingProcess) -> None:
        """End a child that is taken."""
        with self._lock:
            self._busy.discard(child)
        child.end()

    def _open(self, path: Path, on_bad_tile: str, image: int | None, name: str) -> Slide:
        def anew(path: Path, image: int | None) -> Slide:
            return ChildSlide(HeldChild(self, _key(path, image), name))

        return anew(path, image) if on_bad_tile == "fail" else TolerantSlide(path, image, anew)

    def _child(self, key: Key) -> ReadingProcess:
        settings = self.settings
        cpu_s = ceil(settings.read_timeout_s)
        limits = Limits(
            cpu_s=LIFE_REQUESTS * cpu_s,
            memory_bytes=settings.reader_memory_bytes,
            also_reads=_elsewhere(key.path) if self._may_read_here else (),
            bare_root=settings.confine_bare_root or self._may_read_here,
        )
        binding = Binding(
            raw_path=Binding.raw(key.path.absolute()),
            image=key.image,
            is_checked=self._may_read_here,
            limits=limits,
            cpu_s=cpu_s,
            idle_s=IDLE_S,
        )
        file = shared_memory()
        try:
            shared = mmap.mmap(file, BUFFER_BYTES)
            return ReadingProcess(self._nursery.child(binding, [file]), shared, settings.read_timeout_s)
        finally:
            os.close(file)

    def _trim(self, length: int) -> None:
        while True:
            with self._lock:
                if len(self._idle) <= length:
                    return
                _, child = self._idle.popitem(last=False)
            child.end()


def shared_memory() -> int:
    """Return a descriptor of memory for a process and a child, of a size that neither can change.

    Were it cut short, who looks at what is gone would be ended by the kernel.
    """
    file = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, BUFFER_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file


def _key(path: Path, image: int | None) -> Key:
    try:
        found = path.stat()
    except OSError as error:
        raise SlideUnreadable("The slide file is not there.", value=path.name) from error
    return Key(path, image, (found.st_ino, found.st_mtime_ns, found.st_size))


def _elsewhere(path: Path) -> tuple[str, ...]:
    """Return where the links lead that lie beside a slide: people keep slides of their own in other places."""
    with os.scandir(path.parent) as entries:
        links = (Path(entry.path) for entry in entries if entry.is_symlink())
        found = dict.fromkeys(str(each.resolve().parent) for each in (path, *islice(links, LINKS_MAX)))
    return tuple(each for each in found if each.isprintable())
