"""What a worker process brings to its tasks: settings, leases, the model that is loaded, slides at hand."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workers.core.checks import Check, unchecked
from workers.core.children.readers import Readers
from workers.core.model.catalogue import find_model, model_dir
from workers.core.queue.leases import Leases
from workers.core.settings import Settings
from workers.core.slides.slide import Slide
from workers.core.store import Store
from workers.core.stored.slides import slide_at_hand
from workers.core.telemetry import tallies
from workers.core.telemetry.tallies import TALLIES
from workers.pipeline.inference import Segmenter, cpu_threads
from workers.process.watchdog import Limits

logger = logging.getLogger(__name__)


@dataclass
class Runtime:
    """What a worker process brings to its tasks.

    Args:
        settings: As the process read them.
        leases: Of this worker.
        load: Loads a model folder.
    """

    settings: Settings
    leases: Leases
    load: Callable[[Path], Segmenter]
    engines: dict[str, Segmenter] = field(default_factory=dict)
    allow: Callable[[float], None] = lambda _seconds: None
    """Gives what a task does next so many seconds; set by whoever watches over the task."""
    at_model: str = ""
    """The model of the region at hand, once its plan was read."""
    readers: Readers = field(init=False)

    def __post_init__(self) -> None:
        self.readers = Readers(self.settings)

    @property
    def store(self) -> Store:
        """The data folder."""
        return self.leases.jobs.store

    @property
    def limits(self) -> Limits:
        """What a task may take of this process."""
        return Limits(self.leases.memory_bytes, self.settings.read_timeout_s, self.settings.job_timeout_s)

    @property
    def threads(self) -> int:
        """CPU threads that a task may take."""
        return cpu_threads(self.settings.torch_threads, self.settings.workers)

    @contextmanager
    def open(
        self, slide_id: str, on_bad_tile: str, image: int | None, check: Check = unchecked
    ) -> Iterator[tuple[Slide, Path]]:
        """Open a slide as a job wants it, in a confined child; give it with its file, which stays for the context.

        Errors as for `slide_at_hand` and `Readers.open`.
        """
        at_hand = slide_at_hand(self.store, slide_id, check)
        with at_hand as path, self.readers.open(path, on_bad_tile, image, slide_id) as slide:
            yield slide, path

    def engine(self, name: str) -> Segmenter:
        """Return a model, loaded once: the last one stays in memory.

        Raises:
            ModelNotFound, ModelInvalid: It is not installed, or not whole.
        """
        digest = find_model(self.settings.models_dir, name).digest
        if digest not in self.engines:
            started = time.perf_counter()
            self.engines.clear()
            self.engines[digest] = self.load(model_dir(self.settings.models_dir, name))
            seconds = time.perf_counter() - started
            logger.info("model %s loaded in %.1f s", name, seconds)
            self._note_load(name, seconds)
        return self.engines[digest]

    def _note_load(self, name: str, seconds: float) -> None:
        TALLIES.add(tallies.MODEL_LOADS, name)
        TALLIES.add(tallies.MODEL_LOAD_SECONDS, name, by=seconds)
        if self.leases.status is not None:
            (engine,) = self.engines.values()
            self.leases.status.holds(name, getattr(engine, "device", self.settings.device))
