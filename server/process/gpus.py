"""Which GPU a worker gets, so that each has one of its own. Nothing here needs torch."""

from collections.abc import Mapping
from pathlib import Path

from workers.core.settings import Settings

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVEN = Path("/proc/driver/nvidia/gpus")
"""Holds a folder for each GPU that the kernel drives."""


def gpus_of(settings: Settings, environment: Mapping[str, str], driven: Path = DRIVEN) -> list[str]:
    """Return the GPUs that workers may use, as CUDA names them; none where they run on the processor.

    Args:
        settings: Says where models run.
        environment: What it says of `CUDA_VISIBLE_DEVICES` holds.
        driven: What the kernel drives.
    """
    if settings.device == "cpu":
        return []
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    try:
        return [str(index) for index, _ in enumerate(driven.iterdir())]
    except OSError:
        return []


def with_gpu(environment: Mapping[str, str], gpus: list[str], number: int) -> dict[str, str]:
    """Return the environment of worker `number`, counted from 1: it sees one GPU, in turn, where there are any."""
    return dict(environment) | ({VISIBLE: gpus[(number - 1) % len(gpus)]} if gpus else {})
