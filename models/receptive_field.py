"""How far a model looks: the halo at which tiled and whole-image inference must agree.

NaN survives every weight, even a zero one, so the outputs that a NaN in the image turns into NaN are exactly those
whose receptive field holds the place.
"""

import torch

from models.ldiffusion import LDiffusion


@torch.inference_mode()
def theoretical_reach(model: LDiffusion, limit_px: int = 4096) -> int:
    """Return the distance in working px, rounded up to the stride, past which an input cannot change an output.

    Args:
        model: Any joined model; its weights do not matter.
        limit_px: Largest image side to try.

    Raises:
        ValueError: The reach is not contained in an image of `limit_px`, or has no bound at all.
    """
    if not model.config.exact_tiling:
        raise ValueError(f"vae {model.config.vae!r} takes statistics over the whole tile: its reach has no bound")
    stride = model.config.network.stride_px
    size = 32 * stride
    while size <= limit_px:
        reach = _reach_at(model, size, stride)
        if reach is not None:
            return -(-reach // stride) * stride
        size *= 2
    raise ValueError(f"the receptive field does not fit in {limit_px} px")


def _reach_at(model: LDiffusion, size: int, stride: int) -> int | None:
    """Spread one NaN row of pixels through an image of width 4·stride; None if it reaches an edge."""
    channels, f = model.config.latent_grid
    shape = (1, channels, size // f, 4 * stride // f)

    def silence(_t: int) -> torch.Tensor:
        return torch.zeros(shape)

    reach = 0
    # Both ends of a stride cell: which of its pixels is hit decides how far up and down the effect goes.
    for row in (size // 2, size // 2 + stride - 1):
        image = torch.zeros(1, 3, size, 4 * stride)
        image[:, :, row] = torch.nan
        hit = model(image, silence, silence).isnan().any(dim=1).any(dim=2)[0].nonzero().flatten()
        first, last = int(hit[0]), int(hit[-1])
        if first == 0 or last == size - 1:
            return None
        reach = max(reach, row - first, last - row)
    return reach
