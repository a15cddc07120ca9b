"""Where to compute."""

import torch


def pick_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `auto` takes CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
