"""A batch as one table: methods of both clients, and their steps, free of sockets."""

import csv
import io
from pathlib import Path

from ldiffusion_client.methods import Method
from ldiffusion_client.products import fetch_file
from ldiffusion_client.protocol import Ask, Steps, retrying


class CohortMethods:
    """What both clients can do with the table of a batch. Every method raises `RemoteError`, or one of its kinds."""

    _patience_s: float

    @Method
    def cohort(self, batch_id: str) -> Steps[list[dict[str, str]]]:
        """Return a batch as a table: for each slide its areas, counts and warnings, as text; empty where unknown."""
        return _cohort(batch_id, self._patience_s)

    @Method
    def download_cohort(self, batch_id: str, path: str | Path) -> Steps[Path]:
        """Fetch the table of a batch to `path`, as Parquet where that ends with `.parquet`, else as CSV."""
        path = Path(path)
        kind = "parquet" if path.suffix.lower() == ".parquet" else "csv"
        return fetch_file(f"{_address(batch_id)}.{kind}", path, self._patience_s)


def _address(batch_id: str) -> str:
    return f"/v1/batches/{batch_id}/cohort"


def _cohort(batch_id: str, patience_s: float) -> Steps[list[dict[str, str]]]:
    answer = yield from retrying(Ask("GET", f"{_address(batch_id)}.csv"), patience_s)
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))
