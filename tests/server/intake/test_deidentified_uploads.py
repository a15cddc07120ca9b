"""A gateway that strips every slide before it is accepted; and what no gateway shows."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from aperio_slide import LABEL, MACRO, noise, write_aperio
from dicom_series import write_series
from gateway_fixtures import GatewayWith
from mirax_slide import mirax_files
from PIL import Image

from workers.core.settings import Settings
from workers.core.store import Store


@pytest.fixture
def strict(gateway_settings: Settings, gateway_with: GatewayWith) -> Iterator[httpx.Client]:
    settings = gateway_settings.model_copy(update={"deidentify": "strip"})
    with gateway_with(settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def test_what_is_stored_is_stripped_and_both_digests_are_told(
    strict: httpx.Client, gateway_settings: Settings, tmp_path: Path
) -> None:
    content = write_aperio(tmp_path / "a.svs").read_bytes()
    answer = strict.put("/v1/slides?filename=a.svs", content=content)
    assert answer.status_code == 201, answer.text
    info = answer.json()
    folder = Store(gateway_settings.data_dir).slide_dir(info["id"])
    assert sorted(path.name for path in folder.iterdir()) == ["original.svs", "slide.json"]
    stored = (folder / "original.svs").read_bytes()
    assert (info["sha256"], info["stored_sha256"], info["deidentified"]) == (
        hashlib.sha256(content).hexdigest(),
        hashlib.sha256(stored).hexdigest(),
        True,
    )
    everything = b"".join(path.read_bytes() for path in gateway_settings.data_dir.rglob("*") if path.is_file())
    assert not [secret for secret in (LABEL, MACRO, b"SCAN-77", b"Vespucci") if secret in everything]


def test_a_series_is_stripped_and_what_cannot_be_is_refused(
    strict: httpx.Client, gateway_settings: Settings, tmp_path: Path
) -> None:
    def zipped(files: dict[str, bytes]) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return held.getvalue()

    series = zipped({path.name: path.read_bytes() for path in write_series(tmp_path, noise(200, 300))})
    answer = strict.put("/v1/slides?filename=a.zip", content=series)
    assert answer.status_code == 201, answer.text
    folder = Store(gateway_settings.data_dir).slide_dir(answer.json()["id"])
    assert sorted(path.name for path in folder.iterdir()) == ["original-0000.dcm", "original-0001.dcm", "slide.json"]
    refused = strict.put("/v1/slides?filename=a.zip", content=zipped(mirax_files(noise(256, 256))))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "deidentify_refused")
    assert len(list((gateway_settings.data_dir / "slides").iterdir())) == 1
    assert list((gateway_settings.data_dir / "incoming").iterdir()) == []


def test_no_route_shows_label_or_macro(gateway: httpx.Client, tmp_path: Path) -> None:
    """Whatever the setting: pictures of a slide are made of its levels, and its file is not to be had."""
    content = write_aperio(tmp_path / "a.svs").read_bytes()
    slide = f"/v1/slides/{gateway.put('/v1/slides?filename=a.svs', content=content).json()['id']}"
    with Image.open(io.BytesIO(gateway.get(f"{slide}/thumbnail.jpeg").content)) as shown:
        assert abs(shown.width / shown.height - 600 / 500) < 0.02
    document = gateway.get("/openapi.json").json()
    about_slides = [path for path in document["paths"] if path.startswith("/v1/slides/{slide_id}")]
    assert sorted(about_slides) == [
        "/v1/slides/{slide_id}",
        "/v1/slides/{slide_id}/slide.dzi",
        "/v1/slides/{slide_id}/slide_files/{level}/{col}_{row}.jpeg",
        "/v1/slides/{slide_id}/thumbnail.jpeg",
    ]
    for name in ("label", "macro", "associated/label", "original.svs", "file", "label.jpeg"):
        assert gateway.get(f"{slide}/{name}").status_code == 404
