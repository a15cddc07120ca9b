"""The confined children that decode tiles, seen from the gateway: made, asked, and ended when one goes wrong."""

import logging
import socket
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, Protocol

from server.viewing.tile_marks import Marks
from server.viewing.tile_protocol import Binding, Head, Wanted, receive_body
from workers.core.children.line import ChildLost, ChildSilent, receive, send
from workers.core.children.nursery import Child, Nursery
from workers.core.children.priority import queued_s
from workers.core.children.told import told_error
from workers.core.confinement.lock import Limits
from workers.core.errors.base import LDiffusionError, SlideTooLarge, SlideUnreadable, TileFailed
from workers.core.errors.intake import ConfinementFailed, TileLate
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.telemetry.logs import Private

TILE_CHILD = "server.viewing.tile_child"
LIFE_REQUESTS = 30
"""A child may take the CPU of so many of the costliest requests in its life. Half of it, and it is replaced."""

BUSY_SHARE = 0.5
"""A child that waited for a processor for so much of its time is late through no fault of the slide."""

PICTURE_BYTES_PER_PX = 10
TOLD = (SlideUnreadable, SlideTooLarge, TileFailed, ConfinementFailed)
"""What a child may say of a slide."""

logger = logging.getLogger(__name__)


class Decoded(NamedTuple):
    """What came of a request: its head, and the bytes."""

    head: Head
    body: bytes


class Decoder(Protocol):
    """Whoever decodes for viewers."""

    def ask(self, path: Path, info: SlideInfo, wanted: Wanted) -> Decoded:
        """Return a tile or an overview of a slide."""

    def drop(self, folder: Path) -> None:
        """Let go of a slide whose folder is gone."""

    def close(self) -> None:
        """Let go of everything."""


class _Child(NamedTuple):
    """A child for one slide."""

    path: Path
    process: Child

    @property
    def line(self) -> socket.socket:
        """To it."""
        return self.process.line


class TilePool:
    """Children that decode, each for one slide and with one request at a time. For any thread.

    Which of them work at once is bounded by who asks; of those that wait the least recently used ends first.

    Args:
        settings: The limits.
        module: What the children run.
    """

    def __init__(self, settings: Settings, module: str = TILE_CHILD) -> None:
        self._settings = settings
        self._marks = Marks(settings.tile_refuse_s)
        self._nursery = Nursery(module, steps_back=True)
        self._idle: OrderedDict[int, _Child] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Have children ready to be made; does not wait for it."""
        self._nursery.start()

    def ask(self, path: Path, info: SlideInfo, wanted: Wanted) -> Decoded:
        """Have something decoded.

        Args:
            path: The slide's file.
            info: The slide.
            wanted: Of it.

        Raises:
            SlideUnreadable, SlideTooLarge: In the child's words.
            TileFailed: The child crashed, or took too much; or a while ago this did so.
            TileLate: It did not come in time as others had the processor; nothing of it is remembered.
            ConfinementFailed, Unavailable: There are no children.
        """
        self._marks.check(info.id, wanted.name)
        if not path.exists():
            raise SlideUnreadable("The slide file is not there.", value=path.name)
        child = self._take(path, info)
        is_sound, timeout_s = False, self._settings.tile_timeout_s
        queued = queued_s(child.process.pid)
        try:
            send(child.line, wanted)
            deadline = time.monotonic() + timeout_s
            head = receive(child.line, Head, deadline)
            body = b"" if head.error else receive_body(child.line, head, wanted, deadline)
            is_sound = not head.is_last
        except (ChildLost, OSError) as error:
            if isinstance(error, ChildSilent) and queued_s(child.process.pid) - queued >= BUSY_SHARE * timeout_s:
                message = "This part of the slide was not decoded in time: the machine is busy."
                raise TileLate(message, value=wanted.name) from error
            raise self._lost(info, wanted, str(error)) from error
        finally:
            if is_sound:
                self._put(child)
            else:
                child.process.end()
        if head.error is not None:
            raise self._told(info, wanted, told_error(head.error, TOLD))
        return Decoded(head, body)

    def drop(self, folder: Path) -> None:
        """End the children of a slide whose folder is gone, so that its room on the disk is free."""
        self._marks.forget(folder.name)
        with self._lock:
            gone = [key for key, child in self._idle.items() if child.path.parent == folder]
            children = [self._idle.pop(key) for key in gone]
        for child in children:
            child.process.end()

    def close(self) -> None:
        """End all children."""
        self._trim(0)
        self._nursery.stop()

    @property
    def idle(self) -> list[Path]:
        """The slides that are open and not asked for, the least recently used first."""
        with self._lock:
            return [child.path for child in self._idle.values()]

    def _take(self, path: Path, info: SlideInfo) -> _Child:
        with self._lock:
            for key, child in reversed(self._idle.items()):
                if child.path == path:
                    del self._idle[key]
                    if not child.process.has_spoken():
                        return child
                    child.process.end()
                    break
        return _Child(path, self._nursery.child(self._binding(path, info)))

    def _put(self, child: _Child) -> None:
        with self._lock:
            self._idle[id(child)] = child
        self._trim(self._settings.slide_handles)

    def _trim(self, length: int) -> None:
        while True:
            with self._lock:
                if len(self._idle) <= length:
                    return
                _, child = self._idle.popitem(last=False)
            child.process.end()

    def _binding(self, path: Path, info: SlideInfo) -> Binding:
        settings, memory = self._settings, self._settings.tile_memory_bytes
        if info.backend == "pillow":
            memory += PICTURE_BYTES_PER_PX * info.geometry.l0_width * info.geometry.l0_height
        limits = Limits(
            cpu_s=LIFE_REQUESTS * settings.tile_cpu_s, memory_bytes=memory, bare_root=settings.confine_bare_root
        )
        return Binding(folder=str(path.parent), file=path.name, info=info, limits=limits, cpu_s=settings.tile_cpu_s)

    def _lost(self, info: SlideInfo, wanted: Wanted, reason: str) -> LDiffusionError:
        logger.warning("slide %s: decoding %s cost a child: %s", info.id, wanted.name, Private(reason))
        error = TileFailed(
            "Decoding this part of the slide crashed, or took more time or memory than it may.", value=wanted.name
        )
        self._marks.note(info.id, wanted.name, error, is_costly=True)
        return error

    def _told(self, info: SlideInfo, wanted: Wanted, error: LDiffusionError) -> LDiffusionError:
        is_costly = isinstance(error, TileFailed)
        if is_costly:
            logger.warning("slide %s: decoding %s took too much: %s", info.id, wanted.name, Private(error.message))
        if is_costly or isinstance(error, SlideUnreadable):
            self._marks.note(info.id, wanted.name, error, is_costly=is_costly)
        return error
