"""An OME-Zarr in memory, to change it: its files by their keys, its metadata as JSON."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ZarrEdit:
    """The files of a zip.

    Args:
        path: The zip; its Zarr lies at its root.
    """

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}
        self.is_3 = "zarr.json" in self.files
        self.image = "1/" if b"bioformats2raw" in self.files.get(".zattrs", b"") else ""
        self.last: Callable[[bytes], bytes] = bytes
        """What is done with the zip as it is written."""

    def save(self, path: Path) -> None:
        """Write what came of it."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self.files.items():
                archive.writestr(name, content)
        path.write_bytes(self.last(path.read_bytes()))

    @property
    def group(self) -> str:
        """Key of the metadata of the image that is read."""
        return f"{self.image}zarr.json" if self.is_3 else f"{self.image}.zattrs"

    def array(self, level: int) -> str:
        """Key of the metadata of a level."""
        return f"{self.image}{level}/{'zarr.json' if self.is_3 else '.zarray'}"

    def levels(self) -> int:
        """How many levels there are."""
        return sum(self.array(level) in self.files for level in range(8))

    def json(self, key: str) -> Any:
        """Return metadata."""
        return json.loads(self.files[key])

    def put(self, key: str, content: Any) -> None:
        """Replace metadata."""
        self.files[key] = json.dumps(content).encode()

    def ome(self, content: Any) -> Any:
        """Return where NGFF has its own within the attributes of a group."""
        return content["attributes"]["ome"] if self.is_3 else content

    def places(self, level: int) -> dict[str, tuple[int, ...]]:
        """Return the keys of a level's chunks with their places, in this order."""
        pattern = re.compile(rf"{self.image}{level}/(?:c/)?((?:[0-9]+[./])*[0-9]+)")
        known = ((key, pattern.fullmatch(key)) for key in self.files)
        found = {key: tuple(map(int, re.split("[./]", at[1]))) for key, at in known if at}
        return dict(sorted(found.items(), key=lambda each: each[1]))

    def axes(self) -> str:
        """Return the letters of the axes."""
        return "".join(axis["name"] for axis in self.ome(self.json(self.group))["multiscales"][0]["axes"])
