"""TIFFs of no vendor: one directory, or a pyramid of directories in one chain or in SubIFDs."""

from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.tiff.reader import open_tiff


def _is_generic(candidate: Candidate) -> bool:
    return candidate.is_tiff and candidate.openslide_vendor in (None, "generic-tiff")


FORMAT = Format(
    name="generic-tiff",
    title="TIFF, tiled or in strips, with or without levels",
    readers=("openslide", "tiffslide", "tifffile"),
    tried_on="a real file",
    detect=_is_generic,
    open=open_tiff,
    strip="tiff",
    stored_tiles=("openslide",),
    note="RGB, grey or palette of 8 bits; CMYK, CIELab and other bit depths are refused by name",
)
