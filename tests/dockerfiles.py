"""What the tests of the images read of a Dockerfile."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return (instruction, arguments) pairs, continued lines joined, comments dropped."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(dockerfile: Path, instruction: str) -> list[str]:
    return [rest for word, rest in instructions(dockerfile) if word == instruction]


def stage(dockerfile: Path, name: str) -> list[tuple[str, str]]:
    """Return the instructions of a named stage."""
    found = instructions(dockerfile)
    starts = [i for i, (word, _) in enumerate(found) if word == "FROM"]
    first = next(i for i in starts if found[i][1].endswith(f" AS {name}"))
    return found[first : next((i for i in starts if i > first), None)]
