"""What became of each slide of many, as one row: from `result.json` and `statistics.json` of its folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workers.core.schemas import Provenance

State = Literal["done", "done before", "failed", "interrupted", "not begun"]
GOOD = ("done", "done before")
RESULT = "result.json"
STATISTICS = "statistics.json"


@dataclass(frozen=True)
class Row:
    """One slide.

    Args:
        name: Of its folder.
        slide: Where it is, as it was named.
        state: What became of it: a `State` of a run here, or where its job stands on a server.
        error: Why it failed: code and sentence.
        labels: What the manifest says of it.
        record: Its `result.json`, if it is complete.
        statistics: Its `statistics.json`, if it has one.
    """

    name: str
    slide: Path | str
    state: str
    error: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    record: Provenance | None = None
    statistics: Mapping[str, Any] | None = None

    @property
    def classes(self) -> list[Mapping[str, Any]]:
        """The classes of the statistics, background among them."""
        return [] if self.statistics is None else list(self.statistics["classes"])

    @property
    def objects(self) -> int | None:
        """How many there are of all classes; None where nothing was counted."""
        counts = [each["count"] for each in self.classes if each.get("count") is not None]
        return sum(counts) if counts else None

    @property
    def seconds(self) -> float | None:
        """How long the run took that finished it."""
        return None if self.record is None else (self.record.finished_at - self.record.created_at).total_seconds()

    @property
    def warnings(self) -> list[str]:
        """The codes of its warnings, each once."""
        return list(dict.fromkeys(each.code for each in self.record.warnings)) if self.record else []


def row_of(
    folder: Path, slide: Path | str, state: State, *, error: str = "", labels: Mapping[str, str] | None = None
) -> Row:
    """Return the row of a slide; of one that is not complete nothing is read from its folder."""
    record, statistics = None, None
    if state in GOOD:
        record = Provenance.model_validate_json((folder / RESULT).read_bytes())
        if (folder / STATISTICS).exists():
            statistics = json.loads((folder / STATISTICS).read_bytes())
    return Row(folder.name, slide, state, error, dict(labels or {}), record, statistics)
