"""Pictures for viewers: which files are open for them, and what is remembered between two tiles. All of it bounded."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter

from server.jobs.retention import Removed
from server.viewing import deepzoom
from server.viewing.deepzoom import OVERVIEW_PX, Address, Grid, grid_of
from server.viewing.jpeg_tiles import StoredTiles
from server.viewing.label_tiles import LabelPyramid
from server.viewing.live_labels import LiveLabels
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.readers.registry import open_slide
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tolerant import TolerantSlide
from workers.core.store import Store, slide_missing

REMEMBERED = 16
"""Overviews (3 MB each at most), of running jobs too, and tables of tiles that are kept."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SlidePool:
    """Open slides: each with one user at a time, the least recently used closed first.

    Args:
        idle_max: Most slides that are open while nobody uses them.
    """

    def __init__(self, idle_max: int) -> None:
        self._idle_max = idle_max
        self._idle: OrderedDict[int, tuple[Path, Slide]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, path: Path) -> Iterator[Slide]:
        """Give an open slide that nobody else uses meanwhile. One that failed is closed: it might fail for ever after.

        Raises:
            SlideUnreadable: No reader opens the file.
        """
        slide, is_sound = self._take(path) or open_slide(path), False
        try:
            yield slide
            is_sound = True
        finally:
            if is_sound:
                self._put(path, slide)
            else:
                slide.close()

    def close(self) -> None:
        """Close what nobody uses."""
        self._trim(0)

    def drop(self, folder: Path) -> None:
        """Close what nobody uses of a folder that is gone, so that its room on the disk is free."""
        with self._lock:
            gone = [key for key, (path, _) in self._idle.items() if path.parent == folder]
            slides = [self._idle.pop(key)[1] for key in gone]
        for slide in slides:
            slide.close()

    def _take(self, path: Path) -> Slide | None:
        with self._lock:
            for key, (known, slide) in reversed(self._idle.items()):
                if known == path:
                    del self._idle[key]
                    return slide
        return None

    def _put(self, path: Path, slide: Slide) -> None:
        with self._lock:
            self._idle[id(slide)] = (path, slide)
        self._trim(self._idle_max)

    def _trim(self, length: int) -> None:
        while True:
            with self._lock:
                if len(self._idle) <= length:
                    return
                _, (_, slide) = self._idle.popitem(last=False)
            slide.close()


class _Turn:
    """Held by who makes a thing; forgotten when nobody makes it or waits for it any more."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class SingleFlightCache(Generic[T]):
    """The last few things that were asked for, by name. Who asks for what is being made waits for it."""

    def __init__(self) -> None:
        self._order: OrderedDict[str, T] = OrderedDict()
        self._making: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self._lock = threading.Lock()

    def get(self, name: str, make: Callable[[], T]) -> T:
        """Return what has this name, made if it is not known."""
        with self._lock:
            if name in self._order:
                self._order.move_to_end(name)
                return self._order[name]
            turn = self._making.setdefault(name, _Turn())
        with turn.lock:
            found = self.known(name)
            return self._put(name, make()) if found is None else found

    def _put(self, name: str, made: T) -> T:
        with self._lock:
            self._order[name] = made
            while len(self._order) > REMEMBERED:
                self._order.popitem(last=False)
        return made

    def known(self, name: str) -> T | None:
        """Return what has this name, if it is known."""
        with self._lock:
            return self._order.get(name)

    def drop(self, name: str) -> None:
        """Forget what has this name."""
        with self._lock:
            self._order.pop(name, None)


class Viewing:
    """Makes tiles and thumbnails. Every method but `close` decodes, so it belongs into a thread of `limiter`.

    Args:
        store: The data folder.
        settings: How many threads and open slides.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.limiter = CapacityLimiter(settings.tile_threads)
        self._store = store
        self._slides = SlidePool(settings.slide_handles)
        self._overviews = SingleFlightCache[Pixels]()
        self._labels = SingleFlightCache[LabelPyramid]()
        self._stored = SingleFlightCache[StoredTiles]()
        self._live = SingleFlightCache[LiveLabels]()

    def close(self) -> None:
        """Close all files."""
        self._slides.close()

    def forget(self, removed: Removed) -> None:
        """Let go of what is held of a slide or a job that is gone."""
        if removed.kind == "slide":
            self._slides.drop(self._store.slide_dir(removed.id))
            self._overviews.drop(removed.id)
            self._stored.drop(removed.id)
        else:
            self._labels.drop(removed.id)
            self._live.drop(removed.id)

    def slide_tile(self, info: SlideInfo, address: Address) -> bytes:
        """Return a tile of a slide as JPEG.

        Raises:
            ResultNotFound: There is no such tile.
            SlideNotFound, SlideUnreadable: The slide was deleted, or cannot be decoded there.
            SlideTooLarge: It has no level that is small enough for this tile.
        """
        grid = grid_of(info.geometry)
        left, upper, right, lower = grid.tile(*address)  # before anything is opened
        is_whole = right - left == lower - upper == grid.tile_px
        place = grid.step(address[0]), *address[1:]
        if is_whole and (tile := self._stored_tiles(info, grid).tile(*place)):
            return tile
        if deepzoom.is_small(grid, address[0]):
            return deepzoom.jpeg(deepzoom.overview_tile(self._overview(info), grid, address))
        if is_whole and (pixels := self._stored_tiles(info, grid).reduced(*place)) is not None:
            return deepzoom.jpeg(pixels)
        with self._slides.borrow(self._store.slide_file(info.id)) as slide:
            return deepzoom.jpeg(deepzoom.slide_tile(slide, grid, address))

    def tile_at_hand(self, info: SlideInfo, address: Address) -> bytes | None:
        """Return what `slide_tile` does if that takes neither work nor a wait, else None. It may be called anywhere."""
        stored, grid = self._stored.known(info.id), grid_of(info.geometry)
        if stored is None or address[0] > grid.top:
            return None
        return stored.tile_at_hand(grid.step(address[0]), *address[1:])

    def thumbnail(self, info: SlideInfo, max_px: int) -> bytes:
        """Return the whole slide as JPEG, its longer side at most `max_px`, white where it cannot be decoded.

        Raises:
            SlideNotFound, SlideUnreadable: The slide was deleted, or no reader opens it.
            SlideTooLarge: It has no small level.
        """
        return deepzoom.jpeg(deepzoom.shrunk_to(self._overview(info), max_px))

    def overlay_tile(self, job_id: str, address: Address) -> bytes:
        """Return a tile of the overlay of a succeeded job as PNG, background transparent.

        Raises:
            ResultNotFound: There is no such tile.
        """
        path = self._store.job_dir(job_id) / "labels.ome.tif"
        labels = self._labels.get(job_id, lambda: LabelPyramid(path, self._store.read_plan(job_id)))
        return deepzoom.palette_png(labels.tile(*address), labels.classes)

    def live_tile(self, job_id: str, address: Address) -> bytes:
        """Return a tile of the regions that have landed of a job as PNG, all else transparent.

        Raises:
            ResultNotFound: There is no such tile.
            ResultNotReady: The job is not planned yet, or has no results any more.
        """
        folder = self._store.job_dir(job_id)
        held = self._live.get(job_id, lambda: LiveLabels(folder, self._store.read_plan(job_id)))
        if not held.is_current():
            self._live.drop(job_id)
            held = self._live.get(job_id, lambda: LiveLabels(folder, self._store.read_plan(job_id)))
        return deepzoom.palette_png(held.tile(*address), held.classes)

    def _stored_tiles(self, info: SlideInfo, grid: Grid) -> StoredTiles:
        def make() -> StoredTiles:
            try:
                return StoredTiles(self._store.slide_file(info.id), info, grid.tile_px)
            except FileNotFoundError as error:  # deleted meanwhile
                raise slide_missing(info.id) from error

        return self._stored.get(info.id, make)

    def _overview(self, info: SlideInfo) -> Pixels:
        def make() -> Pixels:
            deepzoom.check_overview(info.geometry)
            with TolerantSlide(self._store.slide_file(info.id)) as slide:
                overview = slide.thumbnail(OVERVIEW_PX)
            if slide.bad:
                logger.warning("slide %s: %d blocks of its overview cannot be decoded", info.id, len(slide.bad))
            return overview

        return self._overviews.get(info.id, make)
