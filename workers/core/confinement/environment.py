"""What a confined child may see of our environment."""

import os
from pathlib import Path

_CODE = Path(__file__).resolve().parents[3]


def child_environment() -> dict[str, str]:
    """Return all that the child may see of our environment: nothing secret, and the same packages."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_CODE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
