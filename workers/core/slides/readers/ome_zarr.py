"""OME-Zarr, in a zip or a folder: multiscales of NGFF 0.4 and 0.5, several images in the layout of bioformats2raw."""

from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.zarr.reader import open_ome_zarr
from workers.core.slides.zarr_zip import is_zarr_folder

ZIP_MAGIC = b"PK\3\4"


def _is_ome_zarr(candidate: Candidate) -> bool:
    """Whether it is a zip, of which no other kind is opened, or a folder of Zarr."""
    return candidate.head.startswith(ZIP_MAGIC) or is_zarr_folder(candidate.path)


FORMAT = Format(
    name="ome-zarr",
    title="OME-Zarr",
    readers=("zarr",),
    tried_on="files made by script",
    detect=_is_ome_zarr,
    open=open_ome_zarr,
    note="NGFF 0.4 and 0.5, in one zip; 8 bits; one image, one focal plane, the first three channels",
)
