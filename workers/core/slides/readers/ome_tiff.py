"""OME-TIFF: levels in SubIFDs, chained or not; channels, focal planes and several images, as the OME-XML says."""

from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.tiff.reader import open_tiff


def _is_ome(candidate: Candidate) -> bool:
    return (
        candidate.is_tiff and "<OME" in candidate.description and candidate.openslide_vendor in (None, "generic-tiff")
    )


FORMAT = Format(
    name="ome-tiff",
    title="OME-TIFF",
    readers=("openslide", "tiffslide", "tifffile"),
    tried_on="a real file",
    detect=_is_ome,
    open=open_tiff,
    note="one image, one focal plane; red, green and blue in planes of their own",
)
