"""What is known of a slide: its geometry, the pictures in its file, and what of it cannot be trusted.

Frames: `l0_` level-0 px of the full plane.
"""

from collections.abc import Iterable
from datetime import datetime
from math import ceil, floor
from typing import Literal

from pydantic import Field

from workers.core.frozen import LOCAL_TENANT, Frozen
from workers.core.own_labels import Labels

Backend = Literal["openslide", "tiffslide", "tifffile", "zarr", "pillow"]
MppOrigin = Literal["tiff", "ome", "imagej", "vendor", "dicom", "zarr", "person"]
"""Where a slide's own µm per pixel were found: TIFF resolution, OME-XML, ImageJ's unit, a vendor's tag, DICOM pixel
spacing, the scale of an OME-Zarr; or a person gave them."""

ImageKind = Literal["slide", "associated"]
ModalityName = Literal["brightfield_he", "brightfield_other", "fluorescence", "unknown"]


L0Box = tuple[int, int, int, int]
"""Left, top, right and bottom, half-open, in level-0 px of the full plane."""

PLACES_MAX = 100
"""Places that one warning tells; how many there are is counted."""


class TrustWarning(Frozen):
    """A reason why a result cannot be trusted as it is. It never stops a job; whoever reads the result is told."""

    code: str = Field(description="For programs.", examples=["planes_unread"])
    message: str = Field(description="One sentence for people.")
    value: str | None = Field(default=None, description="What was found.")
    places: tuple[L0Box, ...] = Field(
        default=(),
        max_length=PLACES_MAX,
        description="Where its causes are: boxes x0, y0, x1, y1 in level-0 px, the largest first. None of a warning "
        "that is about all of the slide, and none in lists of jobs.",
    )
    places_count: int = Field(default=0, ge=0, description="How many places there are, those told among them.")

    def at(self, boxes: Iterable[L0Box]) -> "TrustWarning":
        """Return the warning with the places of its causes: the largest boxes, and how many there are in all."""
        known = sorted(set(boxes), key=lambda box: ((box[0] - box[2]) * (box[3] - box[1]), box[1], box[0]))
        return self.model_copy(update={"places": tuple(known[:PLACES_MAX]), "places_count": len(known)})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}{f' ({self.value})' if self.value else ''}"


class ImageEntry(Frozen):
    """One picture of a file."""

    index: int = Field(ge=0, description="In the order of the file; a job may ask for it.")
    name: str = Field(default="", description="As the file calls it.")
    width: int = Field(gt=0, description="Px.")
    height: int = Field(gt=0, description="Px.")
    mpp: tuple[float, float] | None = Field(default=None, description="µm per px in x and y, if the file says it.")
    kind: ImageKind = Field(default="slide", description="`associated`: label, macro, thumbnail.")


class SlideContent(Frozen):
    """Everything that a file holds beside the one picture that is read, so that what is not read is known."""

    images: tuple[ImageEntry, ...] = Field(
        default=(), description="All pictures; empty if the reader knows of one only."
    )
    image: int = Field(default=0, ge=0, description="The picture that is read.")
    channels: tuple[str, ...] = Field(default=(), description="Names of channels that are no colours: fluorescence.")
    z_planes: int = Field(default=1, ge=1)
    z_read: int = Field(default=0, ge=0, description="The focal plane that is read.")
    times: int = Field(default=1, ge=1, description="Moments; the first is read.")
    associated: tuple[str, ...] = Field(default=(), description="Label, macro, thumbnail: pictures that are no slide.")
    icc: bool = Field(default=False, description="The file has a colour profile. It is not applied.")


class Modality(Frozen):
    """How a slide was made to be seen, as far as its file and its pixels tell."""

    name: ModalityName
    evidence: tuple[str, ...] = Field(default=(), description="What speaks for it, a sentence each.")


PLAIN = SlideContent()
"""One picture and nothing beside it."""


class SlideLevel(Frozen):
    """One resolution level of a slide."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    downsample: float = Field(ge=1, description="Level-0 px per px of this level.")
    tile_width: int | None = Field(default=None, description="Of the file's own tiles, None if it does not say.")
    tile_height: int | None = None


class SlideGeometry(Frozen):
    """The one owner of a slide's size, resolution and bounds. Every export goes through it."""

    l0_width: int = Field(gt=0)
    l0_height: int = Field(gt=0)
    mpp_x: float | None = Field(default=None, description="µm per level-0 px, None if the file does not say.")
    mpp_y: float | None = None
    mpp_origin: MppOrigin | None = Field(default=None, description="Where the file says it.")
    implausible_mpp: tuple[float, float] | None = Field(
        default=None, description="What the file says, where no scanner makes such pixels."
    )
    objective_power: float | None = Field(default=None, description="Of the objective, if the file says it.")
    bounds: tuple[int, int, int, int] | None = Field(
        default=None, description="`openslide.bounds-*`: x, y, width, height in level-0 px of the full plane."
    )
    levels: tuple[SlideLevel, ...]

    def l0_box(self, level: int, place: tuple[int, int], size: tuple[int, int]) -> L0Box:
        """Return what a rectangle of a level takes of the slide.

        Args:
            level: Index of the level.
            place: Its left and top, px of the level.
            size: Its width and height, px of the level; it may reach beyond the slide.
        """
        scale = self.levels[level].downsample
        (x0, x1), (y0, y1) = (
            (floor(at * scale), min(length, ceil((at + side) * scale)))
            for at, side, length in zip(place, size, (self.l0_width, self.l0_height), strict=True)
        )
        return x0, y0, x1, y1


class FileMpp(Frozen):
    """What a slide's file says of its µm per pixel, kept where a person has said otherwise."""

    mpp_x: float | None = None
    mpp_y: float | None = None
    mpp_origin: MppOrigin | None = None
    implausible_mpp: tuple[float, float] | None = None
    replaced_at: datetime


class Integrity(Frozen):
    """What came of reading the stored bytes of a slide again."""

    checked_at: datetime
    ok: bool = Field(description="They are those that were stored. If not, no job is taken on the slide.")


class SlideInfo(Frozen):
    """A stored slide that a probe has opened and read."""

    id: str
    tenant: str = Field(default=LOCAL_TENANT, description="Whose it is.")
    filename: str = Field(description="The name the client gave, for people; never a path.")
    size_bytes: int = Field(description="What it takes on the disk.")
    sha256: str = Field(description="Of the bytes as they were uploaded.")
    stored_sha256: str | None = Field(
        default=None,
        description="Of what is stored, where that differs: of the stripped file, or of the lines "
        "`<sha256>  <name>` of the files of a set, in the order of their names.",
    )
    deidentified: bool = Field(default=False, description="Label, macro and identifying tags were removed.")
    vendor: str = Field(description="Format as the reader names it.", examples=["aperio"])
    backend: Backend
    geometry: SlideGeometry
    content: SlideContent = PLAIN
    modality: Modality | None = Field(default=None, description="None for a slide stored by an earlier version.")
    warnings: tuple[TrustWarning, ...] = Field(default=(), description="What of the slide cannot be trusted.")
    file_mpp: FileMpp | None = Field(
        default=None,
        description="What the file says of µm per px, where a person gave others: those in `geometry`.",
    )
    labels: Labels = Field(default={})
    created_at: datetime
    integrity: Integrity | None = Field(default=None, description="Of the last re-check; None before the first.")
