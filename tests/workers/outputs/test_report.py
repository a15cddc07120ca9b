"""`report.pdf`, as another program reads and draws it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from fiducials import Finished
from PIL import Image

from workers import product_tasks
from workers.core.errors.base import ProductRefused
from workers.core.schemas import Provenance
from workers.core.slide_schemas import TrustWarning
from workers.outputs.report import NOTE, write_report
from workers.outputs.statistics import Statistics

NAME = "report.pdf"
A4_PT = (595, 842)
STRANGE = '<b>a&b</b><img src="/etc/hostname"/> Ärzte – 病院.svs'


@pytest.fixture
def provenance(plain: Finished) -> Provenance:
    return plain.store.read_result(plain.job_id)


@pytest.fixture
def statistics(plain: Finished) -> Statistics:
    return Statistics.model_validate_json((plain.store.job_dir(plain.job_id) / "statistics.json").read_bytes())


@contextmanager
def only_page(path: Path) -> Iterator[pypdfium2.PdfPage]:
    with pypdfium2.PdfDocument(path) as document:
        assert len(document) == 1
        yield document[0]


def text_of(path: Path) -> str:
    with only_page(path) as page:
        assert tuple(map(round, page.get_size())) == A4_PT
        return " ".join(page.get_textpage().get_text_bounded().split())


def test_it_tells_areas_warnings_and_what_it_was_made_of(
    plain: Finished, provenance: Provenance, statistics: Statistics
) -> None:
    path = plain.store.job_dir(plain.job_id) / "products" / NAME
    made = product_tasks.make(plain.store, plain.job_id, NAME)
    assert made.size_bytes == path.stat().st_size
    told = text_of(path)
    for each in statistics.classes:
        assert f"{each.name} {each.mm2:.4g}" in told
    for warning in provenance.warnings:
        assert warning.code in told
    squeezed = told.replace(" ", "")
    for value in (provenance.slide_sha256, provenance.model_digest, provenance.job_id, provenance.slide_filename):
        assert value in squeezed
    assert NOTE in told


def test_its_picture_is_the_preview(plain: Finished) -> None:
    folder = plain.store.job_dir(plain.job_id)
    product_tasks.make(plain.store, plain.job_id, NAME)
    with only_page(folder / "products" / NAME) as page:
        (picture,) = (each for each in page.get_objects() if isinstance(each, pypdfium2.PdfImage))
        shown = np.asarray(picture.get_bitmap().to_pil().convert("RGB"), np.int16)
        left, bottom, right, top = picture.get_bounds()
    preview = Image.open(folder / "preview.png").convert("RGB")
    assert shown.shape == (preview.height, preview.width, 3)
    assert np.abs(shown - np.asarray(preview, np.int16)).mean() < 3, "JPEG, and nothing else"
    assert (right - left) / (top - bottom) == pytest.approx(preview.width / preview.height, rel=0.01)


def test_the_same_job_gives_the_same_file(plain: Finished, provenance: Provenance, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.pdf", "b.pdf")]
    for path in paths:
        write_report(path, plain.store.job_dir(plain.job_id), provenance)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_name_is_text_and_no_markup(plain: Finished, provenance: Provenance, tmp_path: Path) -> None:
    path = tmp_path / NAME
    write_report(path, plain.store.job_dir(plain.job_id), provenance.model_copy(update={"slide_filename": STRANGE}))
    assert STRANGE.replace("病院", "??").replace(" ", "") in text_of(path).replace(" ", "")


def test_however_many_warnings_it_is_one_page(plain: Finished, provenance: Provenance, tmp_path: Path) -> None:
    warnings = tuple(TrustWarning(code=f"code_{number}", message="Why. " * 30) for number in range(40))
    path = tmp_path / NAME
    write_report(path, plain.store.job_dir(plain.job_id), provenance.model_copy(update={"warnings": warnings}))
    told = text_of(path)
    assert all(each.code in told for each in warnings)


@pytest.mark.parametrize("lacking", ["preview.png", "statistics.json"])
def test_a_job_without_what_it_shows_is_refused(
    plain: Finished, provenance: Provenance, tmp_path: Path, lacking: str
) -> None:
    files = {name: digest for name, digest in provenance.files.items() if name != lacking}
    with pytest.raises(ProductRefused, match="output"):
        write_report(
            tmp_path / NAME,
            plain.store.job_dir(plain.job_id),
            provenance.model_copy(update={"files": files}),
        )
