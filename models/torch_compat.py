"""Let timm and diffusers import beside a CPU-only torch.

The registry's torchvision is a CUDA build. Beside a CPU torch its compiled library does not load, `torchvision::nms`
stays undefined, and importing torchvision (which timm and diffusers do) fails while it registers that operator's
fake kernel. Declaring the two schemas is enough; nothing here ever calls them. Import this before timm or diffusers.
"""

import importlib.util
from typing import Final

import torch

_SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_missing_operators() -> torch.library.Library | None:
    if torch.version.cuda is not None or importlib.util.find_spec("torchvision") is None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    return library


# The declarations live as long as this reference.
LIBRARY: Final = _declare_missing_operators()
