"""Every block of code in the documents runs as it stands, or says on the line before it why it cannot.

Commands run in the order of their document, in a folder of its own with the files that documents name, against a real
`ldiffusion serve` with the shipped models. Of the text only names change that are nobody's: addresses, ids, keys.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from document_blocks import CHECKED, DOCUMENTS, ROOT, RUN, Block, blocks_of, runnable
from fault_processes import awaited
from made_dataset import write_pair
from numpy.typing import NDArray

from server.process.serve import read_address

SIZE = (12_288, 16_384)
TISSUE = (8_100, 12_100, 300)
"""Top, left and side of the tissue, level-0 px: within the box that documents cut out."""
TILE, FAR = 256, 16
TIMEOUT_S = 240

PREPARED = {
    ("docs/api.md", "python"): """
import hashlib, hmac, time
secret, body, t = b"secret", b"{}", int(time.time())
v1 = hmac.new(secret, f"{t}.".encode() + body, hashlib.sha256).hexdigest()
""",
    ("docs/many-slides.md", "python"): """
import subprocess
with open("arms.csv", "w") as file:
    file.write("path,labels\\nslides/case-7.svs,arm=control\\n")
words = "ldiffusion segment --manifest arms.csv -o out --model nuclei-fast --summary cohort.parquet"
subprocess.run(words.split(), check=True)
""",
    ("docs/access.md", "sh"): "ldiffusion keys create visitor --scope read\n",
}
"""What the sentences around the blocks of a document say is there; before each of them."""


def all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks_of(document)]


def test_what_is_not_run_says_why_or_which_test_does() -> None:
    languages = RUN | CHECKED.keys()
    for block in all_blocks():
        if block.kind == "run by":
            test = ROOT / block.note
            assert test.is_file(), f"{block.place}: {block.note}"
            assert Path(block.document).name in test.read_text(), f"{block.place}: {block.note} does not name it"
        elif block.kind == "not run":
            assert len(block.note.split()) > 2, f"{block.place}: no reason"
        elif block.kind == "run with":
            assert all(name.isidentifier() for name in block.packages), f"{block.place}: packages, with commas between"
        else:
            assert block.language in {"", *languages}, f"{block.place}: {block.language} is not run; why?"


@pytest.mark.parametrize("name", sorted({name for block in all_blocks() for name in block.packages}))
def test_blocks_that_need_packages_of_others_are_run_where_those_are(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed, so the blocks of documents that need it are not run")


def test_files_in_documents_can_be_read() -> None:
    checked = [block for block in all_blocks() if block.language in CHECKED]
    assert {block.language for block in checked} == CHECKED.keys()
    for block in checked:
        try:
            CHECKED[block.language](block.code)
        except ValueError as error:
            pytest.fail(f"{block.place}: {error}")


@dataclass(frozen=True)
class Desk:
    """A server that runs, and what is on it.

    Attributes:
        url: Its address.
        slide: The slide that documents call `slide.svs`.
        slide_id: Its id there.
        job_id: A job of it that has succeeded.
    """

    url: str
    slide: Path
    slide_id: str
    job_id: str

    def named(self, text: str) -> str:
        """Put what is there in the place of what documents call it."""
        places = {
            "http://127.0.0.1:8000": self.url,
            "https://slides.example": self.url,
            '"slide_id": "<id>"': f'"slide_id": "{self.slide_id}"',
            "jobs/<id>": f"jobs/{self.job_id}",
            "ldk_…": "",
            "/path/to/glands": str(ROOT / "models" / "zoo" / "glands"),
        }
        for name, there in places.items():
            text = text.replace(name, there)
        left = re.findall(r"<id>|https?://(?!127\.0\.0\.1)[^\s'\"]+", text)
        assert not left, f"nothing is put in the place of {left}"
        return text


def pixels(top: int, left: int, step: int) -> NDArray[np.uint8]:
    """A tile of the slide at every `step`-th px: glass, and nuclei in one square of eosin."""
    y, x = np.mgrid[top : top + TILE * step : step, left : left + TILE * step : step]
    inside = (y >= TISSUE[0]) & (y < TISSUE[0] + TISSUE[2]) & (x >= TISSUE[1]) & (x < TISSUE[1] + TISSUE[2])
    nucleus = inside & ((y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 < 100)
    rgb = np.full((TILE, TILE, 3), 243, np.uint8)
    rgb[inside] = (222, 150, 190)
    rgb[nucleus] = (92, 60, 130)
    return rgb


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "slide.svs"
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, FAR):
            height, width = (length // step for length in SIZE)
            corners = [(y * step, x * step) for y in range(0, height, TILE) for x in range(0, width, TILE)]
            tiff.write(
                (pixels(top, left, step) for top, left in corners),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="zlib",
                resolution=(40_000 / step, 40_000 / step),
                resolutionunit="centimeter",
                subfiletype=int(step > 1),
                metadata=None,
            )
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Desk]:
    data_dir = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "server.cli.main", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with (data_dir / "log").open("wb") as log:
        server = subprocess.Popen(command, env=surroundings(data_dir), stdout=log, stderr=log)
    try:
        url = awaited(lambda: read_address(data_dir))
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            slide_id = http.put("/v1/slides?filename=slide.svs", content=slide.read_bytes()).json()["id"]
            job_id = http.post("/v1/jobs", json={"slide_id": slide_id, "model": "nuclei-fast"}).json()["id"]
            awaited(lambda: http.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded")
        yield Desk(url, slide, slide_id, job_id)
    finally:
        server.terminate()
        server.wait()


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of commands: ours first on the path, and data of their own."""
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
        "LDIFFUSION_DATA_DIR": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
        "CURL_HOME": str(folder),
    }
    return os.environ | ours | more


def lay_out(folder: Path, slide: Path) -> None:
    """Put what documents name into a folder."""
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    (folder / "slides").mkdir()
    for name in ("slide.svs", "slides/case-7.svs"):
        (folder / name).hardlink_to(slide)
    labels = np.zeros((64, 64), np.uint8)
    labels[20:40, 20:40] = 1
    for stem in ("a", "b"):
        write_pair(folder / "my-images", stem, labels)
    (folder / "my-images" / "dataset.toml").write_text("mpp = 0.5\n")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if runnable(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands_do_what_they_say(desk: Desk, tmp_path: Path, document: Path) -> None:
    lay_out(tmp_path, desk.slide)
    job = f"{desk.url}/v1/jobs/{desk.job_id}"
    environment = surroundings(tmp_path, KEY="", JOB=job)
    if "ldiffusion models add" in document.read_text():
        environment["LDIFFUSION_MODELS_DIR"] = str(tmp_path / "my-models")  # and not among the shipped ones
    for block in runnable(document):
        code = PREPARED.get((block.document, block.language), "") + desk.named(block.code)
        command = ["bash", "-euo", "pipefail", "-c", code]
        if block.language == "python":
            command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{block.place}\n{code}\n{done.stdout}\n{done.stderr}"
