"""A DICOM series of several instances from its archive to the segmentation that refers to the largest of them."""

import asyncio
import hashlib
from pathlib import Path
from types import ModuleType

import numpy as np
import tifffile
from catalogue_fixtures import quotas_of
from dicom_series import read_header, write_series
from highdicom.seg import segread
from numpy.typing import NDArray
from pipeline_fixtures import asked_for, ended, work
from zip_files import write_zip

from server.intake.admission import Admission, Received
from workers import product_tasks
from workers.core.queue.jobs import Jobs
from workers.core.settings import Settings
from workers.core.store import new_id
from workers.runtime import Runtime


def test_a_job_on_a_series_runs_to_its_end(
    jobs: Jobs,
    here: Runtime,
    queue_settings: Settings,
    stained: NDArray[np.uint8],
    colour: ModuleType,
    tmp_path: Path,
) -> None:
    paths = write_series(tmp_path / "series", stained[:512, :768])
    archive = write_zip(tmp_path / "upload.part", {f"case 7/{path.name}": path.read_bytes() for path in paths})
    content = archive.read_bytes()
    with jobs.store.incoming() as folder:
        received = Received("case.zip", len(content), hashlib.sha256(content).hexdigest())
        admission = Admission(jobs.store, queue_settings, quotas_of(jobs))
        info = asyncio.run(admission.admit(new_id(), archive, received, folder))
    assert (info.geometry.mpp_x, len(info.geometry.levels)) == (0.5, 2)
    job_id = asked_for(jobs, info.id, tissue=False)
    work(here)
    assert ended(jobs, job_id).state == "succeeded"
    labels = tifffile.imread(jobs.store.job_dir(job_id) / "labels.ome.tif")
    np.testing.assert_array_equal(labels, colour.label_of(stained[:512, :768]))
    product_tasks.make(jobs.store, job_id, "segmentation.dcm")
    made = segread(jobs.store.job_dir(job_id) / "products" / "segmentation.dcm")
    np.testing.assert_array_equal(made.get_total_pixel_matrix(combine_segments=True), labels)
    [(_, _, instance)] = made.get_source_image_uids()
    assert instance == read_header(paths[0]).SOPInstanceUID
