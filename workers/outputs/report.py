"""One A4 page on a job, as PDF: picture, areas and counts, warnings, and what was made of what, by which versions.

For people who file a result or send it on. All numbers are those of `statistics.json` and `result.json`; nothing is
computed here. The same job gives the same bytes: the file's date is the job's, its identifiers come from its content.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image as Picture
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepInFrame, Paragraph, Spacer, Table

from workers.core.errors.base import ProductRefused
from workers.core.schemas import Provenance
from workers.core.storage.files import atomic_write
from workers.outputs.preview import short_number
from workers.outputs.statistics import ClassStatistics, Statistics

PICTURE = "preview.png"
TABLE = "statistics.json"
MARGIN = 14 * mm
WIDTH = A4[0] - 2 * MARGIN
PICTURE_HEIGHT = 146 * mm
PICTURE_PX = 2400
"""Longer side of the picture in the file, at most: some 300 px an inch."""
FOOTER = 12 * mm

INK, QUIET, DOUBT, RULE = (HexColor(code) for code in ("#1c2430", "#5b6675", "#8a5a00", "#cfd6df"))
TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=8.5, leading=11, textColor=INK, splitLongWords=1)
SMALL = ParagraphStyle("small", TEXT, fontSize=7.5, leading=9.5, wordWrap="CJK")  # breaks digests anywhere
LABEL = ParagraphStyle("label", SMALL, textColor=QUIET)
TITLE = ParagraphStyle("title", TEXT, fontName="Helvetica-Bold", fontSize=15, leading=19, wordWrap="CJK")
HEAD = ParagraphStyle("head", TEXT, fontName="Helvetica-Bold", fontSize=10, leading=15, spaceBefore=7)
NUMBER = ParagraphStyle("number", TEXT, alignment=2)
UNIT = ParagraphStyle("unit", LABEL, alignment=2, wordWrap=None)
WARNING = ParagraphStyle("warning", TEXT, textColor=DOUBT)

COLUMNS = ("class", "mm²", "of tissue", "objects", "per mm² of tissue", "largest, µm²", "mean confidence")
NOTE = "Made by a program, looked at by nobody. For research; not for diagnosis."
ENCODING = "cp1252"
"""What the fonts that every PDF reader has can show; other signs become question marks."""


def write_report(path: Path, job_dir: Path, provenance: Provenance) -> None:
    """Write the report of a job.

    Args:
        path: Where to; replaced atomically.
        job_dir: Its folder, with `preview.png` and `statistics.json`.
        provenance: Its `result.json`.

    Raises:
        ProductRefused: The job was asked for without one of those.
    """
    for name in (PICTURE, TABLE):
        if name not in provenance.files:
            message = "The report shows an output that this job does not have."
            raise ProductRefused(message, value=name, accepted="a job with it among its outputs")
    statistics = Statistics.model_validate_json((job_dir / TABLE).read_bytes())
    story = [
        *_headed(provenance),
        _picture(job_dir / PICTURE),
        *_areas(statistics, provenance),
        *_warnings(provenance),
        *_origin(provenance),
    ]
    page = io.BytesIO()
    canvas = Canvas(page, pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle(_plain(f"{provenance.slide_filename}, {provenance.model}"))
    canvas.setSubject(f"L-Diffusion job {provenance.job_id}")
    height = A4[1] - 2 * MARGIN - FOOTER
    frame = KeepInFrame(WIDTH, height, story, mode="shrink")  # more warnings than there is room for: all smaller
    _, taken = frame.wrapOn(canvas, WIDTH, height)
    frame.drawOn(canvas, MARGIN, A4[1] - MARGIN - taken)
    _foot(canvas, provenance)
    canvas.save()
    with atomic_write(path) as temporary:
        temporary.write_bytes(page.getvalue())


def _headed(provenance: Provenance) -> list[Flowable]:
    line = f"{provenance.model} · {provenance.finished_at:%Y-%m-%d %H:%M} UTC · slide {provenance.slide_id}"
    return [_text(provenance.slide_filename, TITLE), _text(line, LABEL), Spacer(0, 3 * mm)]


def _picture(path: Path) -> Flowable:
    """Return the picture as JPEG, for as PNG it would take ten times the bytes, within its part of the page."""
    with Picture.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((PICTURE_PX, PICTURE_PX))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=90, subsampling=0)
    packed.seek(0)
    scale = min(WIDTH / picture.width, PICTURE_HEIGHT / picture.height)
    return Image(packed, picture.width * scale, picture.height * scale)


def _areas(statistics: Statistics, provenance: Provenance) -> list[Flowable]:
    rows: list[list[Any]] = [[_text(name, UNIT if number else LABEL) for number, name in enumerate(COLUMNS)]]
    shown = sorted(statistics.classes, key=lambda each: (each.index == 0, each.index))
    rows += [[_text(cell, NUMBER if number else TEXT) for number, cell in enumerate(_cells(each))] for each in shown]
    swatches = [
        ("LINEBEFORE", (0, row), (0, row), 5, Color(*(value / 255 for value in each.color)))
        for row, each in enumerate(shown, start=1)
        if each.index
    ]
    whole = f"{statistics.tissue_mm2:.4g} mm² of tissue on a slide of {statistics.slide_mm2:.4g} mm²."
    if statistics.excluded_mm2 is not None:
        whole += f" {statistics.excluded_mm2:.4g} mm² of spoiled tissue are left out."
    if provenance.roi is not None:
        whole += " Within a region of interest only."
    first = 38 * mm
    widths = [first, *[(WIDTH - first) / (len(COLUMNS) - 1)] * (len(COLUMNS) - 1)]
    return [_text("Areas and counts", HEAD), _table(rows, widths, swatches), Spacer(0, 1 * mm), _text(whole, LABEL)]


def _cells(each: ClassStatistics) -> Sequence[str]:
    share = "-" if each.share_of_tissue is None else f"{each.share_of_tissue:.2%}"
    confidence = "-" if each.mean_confidence is None else f"{each.mean_confidence:.3f}"
    counts = (each.count, each.density_per_mm2, each.largest_um2)
    return (each.name, f"{each.mm2:.4g}", share, *(short_number(number) for number in counts), confidence)


def _warnings(provenance: Provenance) -> list[Flowable]:
    lines = [_text(str(each), WARNING) for each in provenance.warnings]
    if provenance.bad_tiles:
        lines.append(_text(f"bad_tiles: {len(provenance.bad_tiles)} tiles could not be decoded.", WARNING))
    return [_text("Warnings", HEAD), *(lines or [_text("None.", TEXT)])]


def _origin(provenance: Provenance) -> list[Flowable]:
    told = {
        "slide, SHA-256": provenance.slide_sha256,
        "model": f"{provenance.model}, {provenance.model_digest}",
        "µm per px": f"{provenance.mpp_x:.4g} × {provenance.mpp_y:.4g} ({provenance.mpp_source}), "
        f"computed at {provenance.model_mpp:g}",
        "computed in": f"{provenance.precision}, seed {provenance.seed}, {provenance.regions} regions of "
        f"{provenance.region_px} px, halo {provenance.halo_px} px",
        "read by": provenance.backend,
        "asked for, done": f"{provenance.created_at:%Y-%m-%d %H:%M:%S}, {provenance.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    rows: list[list[Any]] = [[_text(name, LABEL), _text(value, SMALL)] for name, value in told.items()]
    return [_text("Made of what, by what", HEAD), _table(rows, [30 * mm, WIDTH - 30 * mm], [])]


def _table(rows: list[list[Any]], widths: list[float], style: list[tuple[Any, ...]]) -> Table:
    tight = [("TOPPADDING", (0, 0), (-1, -1), 1.2), ("BOTTOMPADDING", (0, 0), (-1, -1), 1.2)]
    lines = [("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    return Table(rows, widths, style=[*tight, *lines, *style], hAlign="LEFT")


def _foot(canvas: Canvas, provenance: Provenance) -> None:
    canvas.setFont("Helvetica", 7.5)
    canvas.setFillColor(QUIET)
    canvas.drawString(MARGIN, MARGIN, NOTE)
    canvas.drawRightString(A4[0] - MARGIN, MARGIN, f"job {provenance.job_id}")


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    """Return one paragraph; whatever a stranger called a file, it is text and no markup."""
    return Paragraph(escape(_plain(text)), style)


def _plain(text: str) -> str:
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown.encode(ENCODING, "replace").decode(ENCODING)
