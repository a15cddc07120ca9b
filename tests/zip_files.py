"""Writes zip archives, well-meant and hostile ones."""

import struct
import zipfile
from pathlib import Path

Files = dict[str, bytes]
FIFO, LINK, DEVICE = 0o010644, 0o120777, 0o060644


def write_zip(path: Path, files: Files, *, packed: bool = True) -> Path:
    """Write an archive with these files, in this order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_special(path: Path, files: Files, name: str, mode: int) -> Path:
    """Write an archive in which one more entry is a link, a pipe or a device."""
    write_zip(path, files)
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    return path


def rename(path: Path, old: str, new: str) -> Path:
    """Give an entry another name of the same length, one that a library would not write."""
    content = path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old.encode()) == 2
    path.write_bytes(content.replace(old.encode(), new.encode("latin-1")))
    return path


def lie(path: Path, field: str, value: int) -> Path:
    """Have both headers of the only entry claim another number: `size`, `method` or `flags`."""
    central, local, kind = {"size": (24, 22, "<I"), "method": (10, 8, "<H"), "flags": (8, 6, "<H")}[field]
    content = bytearray(path.read_bytes())
    struct.pack_into(kind, content, content.index(b"PK\1\2") + central, value)
    struct.pack_into(kind, content, content.index(b"PK\3\4") + local, value)
    path.write_bytes(content)
    return path


def overlap(path: Path) -> Path:
    """Have the second entry's bytes be those of the first."""
    content = bytearray(path.read_bytes())
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    struct.pack_into("<I", content, second + 42, 0)
    path.write_bytes(content)
    return path
