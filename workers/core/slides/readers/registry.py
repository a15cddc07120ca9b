"""All formats, in the order in which they are asked whether a file is theirs. A new one is a module and a line here."""

from pathlib import Path

from workers.core.errors.base import SlideUnreadable
from workers.core.slide_schemas import Backend
from workers.core.slides.names import NOT_READ
from workers.core.slides.read_watchdog import reading
from workers.core.slides.readers import (
    aperio,
    dicom,
    generic_tiff,
    hamamatsu,
    leica,
    mirax,
    ome_tiff,
    ome_zarr,
    philips,
    pictures,
    qptiff,
    sakura,
    trestle,
    ventana,
)
from workers.core.slides.readers.base import Candidate, Format
from workers.core.slides.readers.stored_tiles import KEPT_BYTES, by_stored_tiles
from workers.core.slides.slide import Slide

FORMATS: tuple[Format, ...] = (
    aperio.FORMAT,
    hamamatsu.FORMAT,
    leica.FORMAT,
    philips.FORMAT,
    ventana.FORMAT,
    mirax.FORMAT,
    dicom.FORMAT,
    trestle.FORMAT,
    sakura.FORMAT,
    ome_tiff.FORMAT,
    qptiff.FORMAT,
    generic_tiff.FORMAT,
    ome_zarr.FORMAT,
    pictures.FORMAT,
)


def format_of(path: Path) -> Format:
    """Return the format of a file, by its bytes.

    Raises:
        SlideUnreadable: It is none of them.
    """
    candidate = Candidate(path)
    taken = ", ".join(each.title for each in FORMATS)
    for magic, title in NOT_READ.items():
        if candidate.head.startswith(magic):
            raise SlideUnreadable(f"{title} is not read here; export it as OME-TIFF.", value=title, accepted=taken)
    found = next((each for each in FORMATS if each.detect(candidate)), None)
    if found is None:
        raise SlideUnreadable(
            "The bytes of this file are those of no slide format that is known here.",
            value=candidate.openslide_vendor or path.name,
            accepted=taken,
        )
    return found


def gives_stored_tiles(vendor: str, backend: Backend) -> bool:
    """Whether the JPEG tiles in a slide's file may be passed on as they are.

    Args:
        vendor: Name of its format.
        backend: What reads the slide.
    """
    return any(backend in each.stored_tiles for each in FORMATS if each.name == vendor)


def table() -> str:
    """Return what is known of every format as a table in Markdown: the one in `docs/formats.md`."""
    rows = ["| format | name | read by | tried on | de-identified | note |", "|---|---|---|---|---|---|"]
    for each in FORMATS:
        stripped = "yes" if each.strip else "refused"
        note = "; ".join(filter(None, ["several files" if each.has_several_files else "", each.note]))
        rows.append(
            f"| {each.title} | `{each.name}` | {', '.join(each.readers)} | {each.tried_on} | {stripped} | {note} |"
        )
    return "\n".join(rows)


def open_slide(path: Path, image: int | None = None, kept_bytes: int = KEPT_BYTES) -> Slide:
    """Open a slide with the reader of its format; JPEG tiles that the file holds as it shows them are decoded directly.

    Args:
        path: The file, or of several the one that stands for all; of an OME-Zarr a folder as well.
        image: The number of the image to read, where the file holds several; None takes the largest.
        kept_bytes: Decoded tiles that are kept in memory, at most.

    Raises:
        SlideUnreadable: It is no slide, or none that can be read; the message says why, without the path.
    """
    if not path.exists():
        raise SlideUnreadable("The slide file is not there.", value=path.name)
    with reading():
        found = format_of(path)
        slide = found.open(path, image)
        return by_stored_tiles(path, slide, kept_bytes) if slide.backend in found.stored_tiles else slide


if __name__ == "__main__":
    print(table())  # noqa: T201  the table of docs/formats.md
