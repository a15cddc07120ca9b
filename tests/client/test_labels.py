"""Labels by the clients: given with a slide and a job, changed, searched by."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from made_slides import write_slide

from ldiffusion_client import Client, Refused

pytestmark = pytest.mark.process


def test_labels_by_the_client(gateway: httpx.Client, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "made.tif", np.full((300, 300, 3), 200, np.uint8))
    with Client(str(gateway.base_url)) as client:
        slide = client.upload(path, labels={"case": "S-1", "block": "Ä"})
        assert slide.labels == {"case": "S-1", "block": "Ä"}
        assert client.label_slide(slide.id, {"block": None, "stain": "HE"}).labels == {"case": "S-1", "stain": "HE"}
        job = client.submit(slide.id, model="made-model", mpp=0.5, labels={"study": "x"})
        assert job.labels == {"study": "x"}
        assert client.label_job(job.id, {"round": "2"}).labels == {"study": "x", "round": "2"}
        batch = client.submit_batch([slide.id], model="made-model", mpp=0.5, labels={"study": "y"})
        now = datetime.now(UTC)

        found = client.slides(labels={"case": "S-1", "stain": "HE"}, name="MADE", since=now - timedelta(hours=1))
        assert [each.id for each in found] == [slide.id]
        assert client.slides(labels={"block": "Ä"}) == client.slides(before=now - timedelta(hours=1)) == []
        assert [each.id for each in client.jobs(labels={"study": "x", "case": "S-1"}, sha256=slide.sha256)] == [job.id]
        assert [each.id for each in client.jobs(labels={"study": "y"})] == [batch.items[0].job_id]
        with pytest.raises(Refused):
            client.label_slide(slide.id, {"no name": "x"})


def test_labels_of_every_way_in(gateway: httpx.Client, tmp_path: Path) -> None:
    path = write_slide(tmp_path / "made.tif", np.full((300, 300, 3), 200, np.uint8))
    put = gateway.put("/v1/slides?filename=a.tif&label=case:1&label=block:A", content=path.read_bytes())
    form = gateway.post("/v1/slides?label=case:2", files={"file": ("b.tif", path.read_bytes())})
    assert [answer.json()["labels"] for answer in (put, form)] == [{"case": "1", "block": "A"}, {"case": "2"}]
    metadata = {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Metadata": "labels eyJhIjoxfQ=="}  # {"a":1}
    refused = gateway.post("/v1/uploads", headers=metadata)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "header_invalid")
