"""A slide of fluorescence over HTTP: refused at once by a model of bright field, or run with a warning."""

import httpx
import pytest
from job_requests import add_slide, code_of, submit

from workers.core.settings import Settings
from workers.core.slide_schemas import Modality
from workers.core.storage.files import write_json
from workers.core.store import Store


@pytest.mark.parametrize("name", ["fluorescence", "brightfield_he", "unknown"])
def test_fluorescence_is_refused_before_anything_is_queued(
    gateway: httpx.Client, gateway_settings: Settings, name: str
) -> None:
    store = Store(gateway_settings.data_dir)
    slide_id = add_slide(store, 0.5)
    modality = Modality.model_validate({"name": name, "evidence": ["channels DAPI, FITC"]})
    info = store.read_slide(slide_id).model_copy(update={"modality": modality})
    write_json(store.slide_dir(slide_id) / "slide.json", info)
    answer = submit(gateway, slide_id)
    if name == "fluorescence":
        assert code_of(answer) == (422, "modality_mismatch")
        assert "DAPI" in answer.json()["error"]["value"]
        assert submit(gateway, slide_id, ignore_modality=True).status_code == 202
    else:
        assert answer.status_code == 202
