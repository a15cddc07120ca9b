"""What tasks write into the record of their job, as parts of transactions."""

from collections.abc import Mapping

from workers.core.model.schemas import ModelCard
from workers.core.queue.events import EventKind, add_event
from workers.core.queue.exchange import Transaction
from workers.core.queue.keys import JobKeys
from workers.core.queue.progress import progress_of


def priority_in(record: Mapping[str, str]) -> str:
    """Return the priority in a job's record."""
    return record.get("priority", "interactive")


def host_in(record: Mapping[str, str]) -> str:
    """Return the host in a job's record that has its regions; empty if every worker has them."""
    return record.get("host", "")


def is_heavy_in(record: Mapping[str, str]) -> bool:
    """Return whether a job's record says that its model is heavy: for workers with a GPU, where there are any."""
    return "heavy" in record


def traits_of(card: ModelCard | None) -> Mapping[str, str]:
    """Return what a job's record says of the model of the job, if it is known."""
    if card is None:
        return {}
    return {"model": card.name} | ({"heavy": "1"} if card.heavy else {})


def change(
    pipe: Transaction,
    keys: JobKeys,
    record: Mapping[str, str],
    fields: Mapping[str, str],
    left: int = 0,
    kind: EventKind = "state",
) -> None:
    """Write fields of a record and the event that tells of it, as part of a transaction."""
    pipe.hset(keys.record, mapping=fields)
    add_event(pipe, keys.job_id, kind, progress_of({**record, **fields}, left))


def sums_with(record: Mapping[str, str], segment_s: float, tiles: float) -> Mapping[str, str]:
    """Return the sums over the regions of a job with one more: its seconds, what it was worth in whole tiles."""
    more = {"segment_s": segment_s, "tiles": tiles}
    return {name: str(float(record.get(name, 0)) + value) for name, value in more.items()}


def next_token(pipe: Transaction, keys: JobKeys) -> int:
    """Return a greater number than any before, as a transaction sees it that watches the record.

    It is Redis's clock in µs, which goes on where its data were lost.
    """
    seconds, micros = map(int, pipe.time())
    return max(seconds * 1_000_000 + micros, int(pipe.hget(keys.record, "token") or 0) + 1)


def count_landed(pipe: Transaction, keys: JobKeys, name: str) -> None:
    """Have the tries of a finish begin anew with its next output, as part of a transaction; once for each output.

    So what kills its workers is still given up, also where what landed does not stay.
    """
    is_news = pipe.hget(keys.attempts, f"landed-{name}") is None
    pipe.multi()
    if is_news:
        pipe.hset(keys.attempts, mapping={f"landed-{name}": 1, "finish": 1})
