"""What a worker and its reading children say to each other. Pixels go by memory that both see, all else by the line."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from workers.core.confinement.lock import Limits
from workers.core.frozen import Frozen
from workers.core.schemas import ErrorBody
from workers.core.slide_schemas import Backend, SlideContent, SlideGeometry, TrustWarning
from workers.core.slides.doubts import Judged
from workers.core.slides.size_limits import MAX_SIDE

BUFFER_BYTES = 2**25
"""Memory that a worker and a child see: two of the largest pieces of an overview, or a tile's worth of blocks."""

LEVELS_MAX = 64


class Place(NamedTuple):
    """A rectangle within a level of a slide, in px of that level."""

    level: int
    lv_x: int
    lv_y: int
    width: int
    height: int

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels."""
        return 3 * self.width * self.height

    def __str__(self) -> str:
        return f"level {self.level} at ({self.lv_x}, {self.lv_y}), {self.width} x {self.height} px"


class Binding(Frozen):
    """The slide that a child is for, all its life.

    Attributes:
        raw_path: The slide's file, each byte of its path as one character: names of files need be no text. The child
            can read its folder, and no other.
        image: The number of the image to read, where the file holds several.
        is_checked: Whether the structure of a TIFF is looked at before it is opened.
        limits: What the child may use; the memory is that beyond what it has to begin with.
        cpu_s: CPU seconds for one request.
        idle_s: Without a request for so long, the child ends by itself.
    """

    raw_path: str
    image: int | None = None
    is_checked: bool = False
    limits: Limits
    cpu_s: int
    idle_s: float

    @property
    def path(self) -> Path:
        """The slide's file."""
        return Path(os.fsdecode(self.raw_path.encode("latin-1")))

    @staticmethod
    def raw(path: Path) -> str:
        """Return a path as it is sent."""
        return os.fsencode(path).decode("latin-1")


class Request(Frozen):
    """What is wanted: the slide opened, looked at for what cannot be trusted, or a place read.

    Attributes:
        number: Comes back with the answer.
        place: To read.
        offset: Where in the shared memory its pixels are wanted, uint8 (height, width, 3).
    """

    kind: Literal["open", "judge", "read"]
    number: int
    place: Place | None = None
    offset: int = 0


class Opened(Frozen):
    """An open slide, as `workers.core.slides.slide.Slide` has it."""

    backend: Backend
    vendor: str = Field(max_length=1000)
    geometry: SlideGeometry
    content: SlideContent
    warnings: tuple[TrustWarning, ...]
    exact: tuple[int, ...] = Field(default=(), max_length=LEVELS_MAX)

    @property
    def is_possible(self) -> bool:
        """Whether a slide can have such sizes: an arithmetic with others may never end, or take all memory."""
        sides = [(self.geometry.l0_width, self.geometry.l0_height)]
        sides += [(level.width, level.height) for level in self.geometry.levels]
        return 1 < len(sides) <= LEVELS_MAX + 1 and all(max(each) <= MAX_SIDE for each in sides)


class Answer(Frozen):
    """What came of a request.

    Attributes:
        number: Of the request.
        error: Why nothing came of it.
        opened: The slide, if it was to be opened.
        judged: What cannot be trusted of it, if it was to be looked at.
        lacks_memory: It takes more memory than the child may have.
        is_last: The child may not be sound any more, or has worked long enough: it answers nothing more.
    """

    number: int
    error: ErrorBody | None = None
    opened: Opened | None = None
    judged: Judged | None = None
    lacks_memory: bool = False
    is_last: bool = False
