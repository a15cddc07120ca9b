"""What bystanders notice of attacks: `python -m benchmarks.attacks [--requests 200] [--repeat 3] [--only NAME]`.

One client asks a real gateway for a fixed mix (list, thumbnail, tile, submission, a chunk of 1 MiB), each on a new
connection: first alone, then while an attack of another tenant goes on in another process. Told are the 95th
percentile of the one and the other, their quotient, and how far the memory of the gateway and of what it started grew
over that before; what they share counts once.
"""

import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import click
import numpy as np
import psutil

from benchmarks.attack_kinds import ATTACKS
from benchmarks.attack_slides import means_of
from benchmarks.gateway import made_slide
from benchmarks.gateway_process import PeakMemory, Server, held_mb, queue_of, start_gateway
from benchmarks.gateway_uploads import METADATA, MIB, Uploader, bearer
from benchmarks.report import Figure, figure
from server.cli.keys import keys_of
from server.process.children import module_command, module_environment
from server.uploads import tus
from workers.core.command_line import CONTEXT
from workers.core.settings import Settings

TIMEOUT_S = 60.0
SETTLE_S = 2.0
TILES = 16


@dataclass(frozen=True)
class Run:
    """One attack, measured once.

    Attributes:
        alone_ms: 95th percentile of the mix before it.
        attacked_ms: The same while it goes on; a request that fails counts as long as it may take.
        failed: Requests without an answer, or with an error.
        growth_mb: Memory of the gateway and its children above that before.
    """

    alone_ms: float
    attacked_ms: float
    failed: int
    growth_mb: float

    @property
    def times(self) -> float:
        """How much longer a bystander waits."""
        return self.attacked_ms / self.alone_ms


class Bystander:
    """A client that knows nothing of attacks.

    Args:
        port: Of the gateway.
        slide: Is uploaded first.
        key: Opens the gateway.
    """

    def __init__(self, port: int, slide: Path, key: str) -> None:
        self._port = port
        self._key = key
        self._slide_id = str(Uploader(port, key).put(slide)["id"])
        self._chunk = os.urandom(MIB)
        self._tile = 0
        self._mix = (self._list, self._thumbnail, self._next_tile, self._submit, self._append)

    def wait(self, count: int) -> tuple[float, int]:
        """Ask for so many of the mix; return the 95th percentile in ms, and how many failed."""
        times, failed = [], 0
        for ask in islice(cycle(self._mix), count):
            self._upload = self._create() if ask == self._append else ""  # not measured
            started = time.perf_counter()
            is_answered = _is_answered(ask)
            times.append(time.perf_counter() - started if is_answered else TIMEOUT_S)
            failed += not is_answered
        return float(np.percentile(times, 95)) * 1000, failed

    def _list(self) -> int:
        return self._ask("GET", "/v1/slides?limit=100")

    def _thumbnail(self) -> int:
        return self._ask("GET", f"/v1/slides/{self._slide_id}/thumbnail.jpeg")

    def _next_tile(self) -> int:
        self._tile = (self._tile + 1) % TILES
        return self._ask("GET", f"/v1/slides/{self._slide_id}/slide_files/13/{self._tile}_3.jpeg")

    def _submit(self) -> int:
        body = json.dumps({"slide_id": self._slide_id, "mpp": 0.5}).encode()
        return self._ask("POST", "/v1/jobs", body, {"Content-Type": "application/json"})

    def _append(self) -> int:
        headers = {"Tus-Resumable": tus.VERSION, "Upload-Offset": "0", "Content-Type": tus.CHUNK_TYPE}
        return self._ask("PATCH", self._upload, self._chunk, headers)

    def _create(self) -> str:
        headers = {"Tus-Resumable": tus.VERSION, "Upload-Length": str(MIB + 1), "Upload-Metadata": METADATA}
        try:
            return str(Uploader(self._port, self._key).ask("POST", tus.PREFIX, headers)[0]["location"])
        except (OSError, http.client.HTTPException, RuntimeError):
            return "/v1/uploads/none"  # then the chunk fails, and is counted

    def _ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path, body, {**bearer(self._key), **(headers or {})})
            answer = connection.getresponse()
            answer.read()
            return answer.status


def _is_answered(ask: Callable[[], int]) -> bool:
    try:
        return ask() < http.HTTPStatus.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def under(name: str, port: int, means: dict[str, str]) -> Iterator[None]:
    """Let an attack go on in a process of its own, with these means in its environment, while the context lasts."""
    command = module_command("benchmarks.attack_kinds", name, str(port))
    attacker = subprocess.Popen(command, env={**module_environment(), **means})
    try:
        time.sleep(SETTLE_S)
        if attacker.poll() is not None:
            raise RuntimeError(f"the attack ended by itself: {name}")
        yield
    finally:
        attacker.kill()
        attacker.wait()


def measure(name: str, bystander: Bystander, gateway: Server, means: dict[str, str], count: int) -> Run:
    """Measure the mix alone, and under an attack with these means."""
    pid = gateway.process.pid
    with PeakMemory(pid):  # which takes a little of the processor: in both
        alone_ms, _ = bystander.wait(count)
    before_mb = held_mb(psutil.Process(pid))
    with PeakMemory(pid) as peak, under(name, gateway.port, means):
        attacked_ms, failed = bystander.wait(count)
    time.sleep(SETTLE_S)
    return Run(alone_ms, attacked_ms, failed, max(0.0, peak.all_mb - before_mb))


def key_of(settings: Settings, tenant: str) -> str:
    """Make a key of a tenant; the first one closes the gateway to whoever has none."""
    return keys_of(settings).create(tenant, tenant, ("read", "submit"), None)[1]


def figures_of(runs: dict[str, list[Run]]) -> list[Figure]:
    """Return the worst of all attacks: by the median of its runs, with the smallest and largest of them."""
    times = {name: [run.times for run in each] for name, each in runs.items()}
    growth = [run.growth_mb for each in runs.values() for run in each]
    worst = max(times.values(), key=median)
    return [
        Figure("attacks.worst_bystander_x", median(worst), "x", (min(worst), max(worst))),
        Figure("attacks.gateway_growth_mb", max(growth), "MB", (min(growth), max(growth))),
        Figure("attacks.failed_requests", sum(run.failed for each in runs.values() for run in each), "requests"),
    ]


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.option("--requests", type=click.IntRange(min=5), default=200, help="of the mix, each time")
@click.option("--repeat", type=click.IntRange(min=1), default=3)
@click.option("--only", type=click.Choice(list(ATTACKS)), multiple=True, help="these attacks alone")
@click.option("--folder", type=click.Path(path_type=Path), help="where to work")
def main(requests: int, repeat: int, only: tuple[str, ...], folder: Path | None) -> None:
    runs: dict[str, list[Run]] = {name: [] for name in only or ATTACKS}
    with tempfile.TemporaryDirectory(dir=folder) as place, queue_of(Path(place) / "data") as settings:
        many = {"uploads_per_tenant": 10**6}  # none of the bystander's is completed
        gateway = start_gateway(settings.model_copy(update=many))
        try:
            bystander = Bystander(gateway.port, made_slide(Path(place) / "made.tif"), key_of(settings, "bystander"))
            means = means_of(gateway.port, key_of(settings, "attacker"), Path(place))
            bystander.wait(10)  # the first of each kind builds what others use
            print(f"{'':>26}{'alone ms':>10}{'attacked':>10}{'times':>8}{'failed':>8}{'growth MB':>11}")
            for name in [name for _ in range(repeat) for name in runs]:
                run = measure(name, bystander, gateway, means, requests)
                runs[name].append(run)
                row = f"{run.alone_ms:>10.1f}{run.attacked_ms:>10.1f}{run.times:>8.2f}{run.failed:>8}"
                print(f"{name:>26}{row}{run.growth_mb:>11.1f}", flush=True)
        finally:
            gateway.stop()
    for each in figures_of(runs):
        figure(*each)


if __name__ == "__main__":
    main()
