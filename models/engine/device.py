"""Where to compute."""

import torch


def pick_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `auto` takes CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def answers(device: torch.device) -> bool:
    """Return whether a device still computes: a GPU that fell off the bus, or whose context broke, does not."""
    if device.type != "cuda":
        return True
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True
