"""The widths of a network small enough for tests that run or train one."""

from models.config import NetworkConfig

SMALL = NetworkConfig(
    latent_channels=3,
    encoder_width=8,
    encoder_depth=1,
    unet_widths=(8, 12, 16),
    unet_depth=1,
    dae_width=8,
    dae_depth=1,
    head_widths=(4, 8, 12, 16),
    head_depths=(0, 0, 1, 1),
)
