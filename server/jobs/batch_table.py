"""A batch as one table: a row for each slide, with the numbers of those that are done."""

import io
from dataclasses import replace

from server.jobs.batch_records import BatchItem, BatchView
from workers.core.cohort.rows import STATISTICS, Row, row_of
from workers.core.cohort.tables import write_csv, write_parquet
from workers.core.errors.base import JobNotFound, SlideNotFound
from workers.core.job_files import has_result
from workers.core.store import Store
from workers.core.stored.results import fetch_records, local_result


def batch_csv(batch: BatchView, store: Store) -> str:
    """Return a batch as CSV, in the columns of a summary on the command line (docs/many-slides.md).

    `name` is the slide's file name, `slide` its id, `state` that of its job.
    """
    text = io.StringIO(newline="")
    write_csv(text, [_row(item, store) for item in batch.items])
    return text.getvalue()


def batch_parquet(batch: BatchView, store: Store) -> bytes:
    """Return the same table as Parquet."""
    file = io.BytesIO()
    write_parquet(file, [_row(item, store) for item in batch.items])
    return file.getvalue()


def _row(item: BatchItem, store: Store) -> Row:
    name = _name(item.slide_id, store)
    if item.state == "succeeded" and item.job_id is not None:
        try:
            if not has_result(store, item.job_id):
                fetch_records(store, item.job_id)
            local_result(store, item.job_id, STATISTICS)  # where there is a storage, nobody may have needed it yet
            return replace(row_of(store.job_dir(item.job_id), item.slide_id, "done"), name=name, state=item.state)
        except (FileNotFoundError, JobNotFound):  # it was deleted just now
            return Row(name, item.slide_id, "deleted")
    error = "" if item.error is None else f"{item.error.code}: {item.error.message}"
    return Row(name, item.slide_id, item.state, error)


def _name(slide_id: str, store: Store) -> str:
    try:
        return store.read_slide(slide_id).filename
    except SlideNotFound:
        return ""
