"""What a run writes while it goes: `log.jsonl`, one row a line, and TensorBoard events where wanted and installed."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

LOG: Final = "log.jsonl"
EVENTS: Final = "tensorboard"


class RunLog:
    """The log of one stage. A row is `{"stage", "step", …figures}`.

    Args:
        run_dir: Folder of the run.
        stage: Name of the stage.
        start: Step that the stage goes on from. Rows after it are of steps that are now made again, and are dropped.
        tensorboard: Whether to write events too, into `tensorboard/<stage>`; off where the package is not installed.
    """

    def __init__(self, run_dir: Path, stage: str, start: int, *, tensorboard: bool) -> None:
        self._path = run_dir / LOG
        self._stage = stage
        self._rewind(start)
        self._writer: Any = None
        if tensorboard and find_spec("tensorboard") is not None:
            summary_writer = import_module("torch.utils.tensorboard").SummaryWriter
            self._writer = summary_writer(str(run_dir / EVENTS / stage), purge_step=start + 1)

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """Append a row; its numbers are scalars in TensorBoard."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self._stage, "step": step} | figures) + "\n")
        if self._writer is not None:
            for key, value in figures.items():
                self._writer.add_scalar(key, value, step)
            self._writer.flush()

    def close(self) -> None:
        """End the event file."""
        if self._writer is not None:
            self._writer.close()

    def _rewind(self, start: int) -> None:
        if not self._path.is_file():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and not self._is_after(json.loads(line), start)]
        if len(kept) < len(lines):
            draft = self._path.with_name(LOG + ".draft")
            draft.write_text("".join(kept), encoding="utf-8")
            draft.replace(self._path)

    def _is_after(self, row: dict[str, Any], start: int) -> bool:
        return bool(row["stage"] == self._stage and row["step"] > start)
