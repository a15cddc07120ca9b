"""Where slides and jobs lie in a storage.

slides/ID/bytes/…           the files of a slide, as a commit; they never change
slides/ID/slide.json        its record, which may change; written last: the slide is there when this is
jobs/ID/job.json            what was asked for
jobs/ID/results/…           the results of a job that has succeeded, as a commit
jobs/ID/corrections.jsonl   a copy of what people said of its objects
batches/ID.json             the record of a batch; it never changes
"""

from workers.core.storage.base import Key

SLIDES = Key("slides")
JOBS = Key("jobs")
BATCHES = Key("batches")


def slide_record(slide_id: str) -> Key:
    """Return where the record of a slide lies."""
    return SLIDES / f"{slide_id}/slide.json"


def slide_files(slide_id: str) -> Key:
    """Return what all keys of the files of a slide begin with."""
    return SLIDES / f"{slide_id}/bytes"


def job_record(job_id: str) -> Key:
    """Return where the record of a job lies."""
    return JOBS / f"{job_id}/job.json"


def job_results(job_id: str) -> Key:
    """Return what all keys of the results of a job begin with."""
    return JOBS / f"{job_id}/results"


def job_corrections(job_id: str) -> Key:
    """Return where the corrections of a job lie."""
    return JOBS / f"{job_id}/corrections.jsonl"


def batch_record(batch_id: str) -> Key:
    """Return where the record of a batch lies."""
    return BATCHES / f"{batch_id}.json"
