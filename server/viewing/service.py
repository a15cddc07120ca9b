"""Pictures for viewers: which files are open for them, and what is remembered between two tiles. All of it bounded."""

import logging
import os
from contextlib import AbstractAsyncContextManager

import numpy as np
from anyio import CapacityLimiter

from server.intake.fair_queue import FairQueue
from server.jobs.retention import Removed
from server.viewing import deepzoom
from server.viewing.deepzoom import Address, Grid, grid_of
from server.viewing.job_layers import JobLayers
from server.viewing.jpeg_tiles import StoredTiles
from server.viewing.kept import SingleFlightCache
from server.viewing.label_tiles import LabelPyramid
from server.viewing.live_labels import LiveLabels
from server.viewing.tile_pool import Decoder, TilePool
from server.viewing.tile_protocol import Wanted
from workers.core.settings import Settings
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.slide import Pixels
from workers.core.store import Store, slide_missing
from workers.core.stored.results import local_result
from workers.core.stored.slides import is_at_hand, slide_at_hand

TURN_S = 0.05
"""While other tenants are there, what is decoded for one counts for so long at least in its share of the children.

A tile that is decoded in no time costs the gateway more than the child, and what many of those cost others wait for.
"""

logger = logging.getLogger(__name__)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def share_of(children: int, processors: int) -> int:
    """Return how many children may decode for one tenant at once.

    One is left to the others always. More than there are processors would be no faster, and each takes its memory.
    """
    return max(1, min(children - 1, processors))


class Viewing:
    """Makes tiles and thumbnails. What takes long belongs into a thread.

    Slides are decoded by confined children alone; what needs none belongs into a thread of `limiter`, what may need one
    into one of `decoders`, and only in one's turn.

    Args:
        store: The data folder.
        settings: How many threads, children and open slides.
        decoder: Who decodes; confined children if it is None.
    """

    def __init__(self, store: Store, settings: Settings, decoder: Decoder | None = None) -> None:
        self.limiter = CapacityLimiter(settings.tile_threads)
        self.decoders = CapacityLimiter(settings.tile_children)
        self._turns = FairQueue(settings.tile_children, share=share_of(settings.tile_children, processors()))
        self._store = store
        self._pool = decoder or TilePool(settings)
        self._overviews = SingleFlightCache[Pixels]("overview")
        self._thumbnails = SingleFlightCache[bytes]("thumbnail")
        self._labels = SingleFlightCache[LabelPyramid]("labels")
        self._stored = SingleFlightCache[StoredTiles]("stored_tiles")
        self._live = SingleFlightCache[LiveLabels]("live_labels")
        self.layers = JobLayers(store, self._labels_of)

    def turn(self, tenant: str, *, is_alone: bool) -> AbstractAsyncContextManager[None]:
        """Return what waits for a child for this tenant, and has one while the context lasts.

        Args:
            tenant: Whose slide it is.
            is_alone: No other tenant is there.
        """
        return self._turns.turn(tenant, 0.0 if is_alone else TURN_S)

    @property
    def load(self) -> tuple[int, int]:
        """How many children decode now, and how many requests wait for one."""
        return self._turns.busy, self._turns.waiting

    def start(self) -> None:
        """Have children ready to be made; does not wait for it."""
        if isinstance(self._pool, TilePool):
            self._pool.start()

    def close(self) -> None:
        """End all children."""
        self._pool.close()

    def forget(self, removed: Removed) -> None:
        """Let go of what is held of a slide or a job that is gone."""
        if removed.kind == "slide":
            self._pool.drop(self._store.slide_dir(removed.id))
            self._overviews.drop(removed.id)
            self._thumbnails.drop(removed.id)
            self._stored.drop(removed.id)
        else:
            self._labels.drop(removed.id)
            self._live.drop(removed.id)
            self.layers.forget(removed.id)

    def ready_tile(self, info: SlideInfo, address: Address) -> bytes | None:
        """Return a tile of a slide as JPEG if nothing has to be decoded for it, else None.

        Raises:
            ResultNotFound: There is no such tile.
            SlideNotFound: The slide was deleted.
        """
        grid = grid_of(info.geometry)
        left, upper, right, lower = grid.tile(*address)  # before anything is opened
        is_whole = right - left == lower - upper == grid.tile_px
        place = grid.step(address[0]), *address[1:]
        if is_whole and is_at_hand(self._store, info.id) and (tile := self._stored_tiles(info, grid).tile(*place)):
            return tile
        overview = self._overviews.known(info.id)
        if overview is not None and deepzoom.is_small(grid, address[0]):
            return deepzoom.jpeg(deepzoom.overview_tile(overview, grid, address))
        return None

    def slide_tile(self, info: SlideInfo, address: Address) -> bytes:
        """Return a tile of a slide that is not ready as JPEG: decoded, or cut from what is.

        Raises:
            ResultNotFound: There is no such tile.
            SlideNotFound, SlideUnreadable: The slide was deleted, or cannot be decoded there.
            SlideTooLarge: It has no level that is small enough for this tile.
            TileFailed: Decoding it crashed, or took too much, now or a while ago.
        """
        grid = grid_of(info.geometry)
        if deepzoom.is_small(grid, address[0]):
            return deepzoom.jpeg(deepzoom.overview_tile(self._overview(info), grid, address))
        with slide_at_hand(self._store, info.id) as file:
            return self._pool.ask(file, info, Wanted(kind="tile", address=address)).body

    def tile_at_hand(self, info: SlideInfo, address: Address) -> bytes | None:
        """Return what `slide_tile` does if that takes neither work nor a wait, else None. It may be called anywhere."""
        stored, grid = self._stored.known(info.id), grid_of(info.geometry)
        if stored is None or address[0] > grid.top:
            return None
        return stored.tile_at_hand(grid.step(address[0]), *address[1:])

    def ready_thumbnail(self, info: SlideInfo, max_px: int) -> bytes | None:
        """Return the whole slide as JPEG if nothing has to be decoded for it, else None."""
        overview, kept = self._overviews.known(info.id), self._thumbnails.known(f"{info.id}/{max_px}")
        return kept if overview is None or kept is not None else self._thumbnail(info, max_px, overview)

    def thumbnail(self, info: SlideInfo, max_px: int) -> bytes:
        """Return the whole slide as JPEG, its longer side at most `max_px`, white where it cannot be decoded.

        Raises:
            SlideNotFound, SlideUnreadable: The slide was deleted, or no reader opens it.
            SlideTooLarge: It has no small level.
            TileFailed: Decoding it crashed, or took too much, now or a while ago.
        """
        return self._thumbnail(info, max_px, self._overview(info))

    def overlay_tile(self, job_id: str, address: Address) -> bytes:
        """Return a tile of the overlay of a succeeded job as PNG, background transparent.

        Raises:
            ResultNotFound: There is no such tile.
        """
        labels = self._labels_of(job_id)
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

    def _labels_of(self, job_id: str) -> LabelPyramid:
        def make() -> LabelPyramid:
            return LabelPyramid(local_result(self._store, job_id, "labels.ome.tif"), self._store.read_plan(job_id))

        return self._labels.get(job_id, make)

    def _stored_tiles(self, info: SlideInfo, grid: Grid) -> StoredTiles:
        def make() -> StoredTiles:
            try:
                with slide_at_hand(self._store, info.id) as file:
                    return StoredTiles(file, info, grid.tile_px)
            except FileNotFoundError as error:  # deleted meanwhile
                raise slide_missing(info.id) from error

        return self._stored.get(info.id, make, info.tenant)

    def _thumbnail(self, info: SlideInfo, max_px: int, overview: Pixels) -> bytes:
        def make() -> bytes:
            return deepzoom.jpeg(deepzoom.shrunk_to(overview, max_px))

        return self._thumbnails.get(f"{info.id}/{max_px}", make, info.tenant)

    def _overview(self, info: SlideInfo) -> Pixels:
        def make() -> Pixels:
            with slide_at_hand(self._store, info.id) as file:
                head, body = self._pool.ask(file, info, Wanted(kind="overview"))
            if head.lost:
                logger.warning("slide %s: %d blocks of its overview cannot be decoded", info.id, head.lost)
            return np.frombuffer(body, np.uint8).reshape(head.height, head.width, 3)

        return self._overviews.get(info.id, make, info.tenant)
