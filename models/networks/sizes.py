"""Sizes of the networks of a model, checked by pydantic. Nothing here needs torch: `models.config` is made of them."""

from typing import Annotated, Final, Literal

from pydantic import Field

from models.settings import settings

# ConvNeXt's coarsest stage: a stem of 4 and three halvings. Other encoders are cut after stride 16.
_CONVNEXT_STRIDE: Final = 32
_TRUNK_STRIDE: Final = 16

Norm = Literal["pixel", "batch"]
Above0 = Annotated[int, Field(gt=0)]


@settings
class VectorConfig:
    """The diffusion among features: z_0 is made of the segmentation network's own, and nothing is decoded.

    Attributes:
        stride: Of z_0 in working px, and of the features that it is made of.
        channels: C of z_0; a pixel latent vector has T·C numbers.
        widths: Channels of the U-Net, finest first; each further one halves the resolution.
        depth: Its blocks per resolution on each way.
        beside: The way up reads the features of that stride beside the vectors, and not the vectors in their place.
    """

    stride: Literal[2, 4, 8] = 4
    channels: Above0 = 16
    widths: tuple[Above0, ...] = (32, 48)
    depth: Above0 = 1
    beside: bool = True


@settings
class NetworkConfig:
    """Widths and depths. Spatial sizes never appear: the networks take any multiple of `stride_px`.

    Attributes:
        backbone: timm's name of the encoder of the segmentation network: a ConvNeXt (`models.networks.timm_head`), or
            another without statistics over space (`models.networks.trunk`); empty for our own network
            (`models.networks.convnext`), which `head_widths` and `head_depths` are for.
        backbone_weights: What it starts from: nothing, a local `.safetensors` file, `efficientnet-lite0` (of the Python
            package of that name), or `timm`, which downloads.
        backbone_pyramid: Channels of the pyramid on top of a ConvNeXt.
        trunk_widths: Channels of the decoder on top of another encoder, at strides 1, 2, 4, 8 and 16.
        trunk_depth: ConvNeXt blocks at its stride 16.
        norm: Of U-Net and decoder: over the channels of each pixel, or batch norm.
        vectors: Sizes of the diffusion among the features of the segmentation network, which takes the place of the
            decoded maps; none: the maps. The sizes of encoder, U-Net and decoder above are then not used.
    """

    latent_channels: int = 12
    latent_stride: int = 4
    encoder_width: int = 64
    encoder_depth: int = 2
    unet_widths: tuple[int, ...] = (48, 96, 160)
    unet_depth: int = 2
    dae_width: int = 64
    dae_depth: int = 4
    head_widths: tuple[int, ...] = (16, 48, 96, 160)
    head_depths: tuple[int, ...] = (0, 0, 0, 2)
    backbone: str = ""
    backbone_weights: str = ""
    backbone_pyramid: int = 64
    trunk_widths: tuple[int, int, int, int, int] = (16, 32, 48, 64, 128)
    trunk_depth: int = 2
    norm: Norm = "pixel"
    vectors: VectorConfig | None = None

    def __post_init__(self) -> None:
        """Check that the features that the vectors are made of exist."""
        if self.vectors is None:
            return
        if self.is_convnext:
            raise ValueError(f"vectors are made by our own network or a trunk; backbone is {self.backbone!r}")
        coarsest = _TRUNK_STRIDE if self.backbone else 2 ** (len(self.head_widths) - 1)
        if self.vectors.stride > coarsest:
            raise ValueError(f"vectors.stride is {self.vectors.stride}; the coarsest of the network's is {coarsest}")

    @property
    def stride_px(self) -> int:
        """Total stride in working px: the coarsest grid any of the networks samples on."""
        unet: int = self.latent_stride * 2 ** (len(self.unet_widths) - 1)
        if self.vectors is not None:
            unet = self.vectors.stride * 2 ** (len(self.vectors.widths) - 1)
        if not self.backbone:
            head: int = 2 ** (len(self.head_widths) - 1)
            return max(unet, head)
        return max(unet, _CONVNEXT_STRIDE if self.is_convnext else _TRUNK_STRIDE)

    @property
    def is_convnext(self) -> bool:
        """Whether `backbone` names one of timm's ConvNeXt networks."""
        return "convnext" in self.backbone


@settings
class VaeConfig:
    """The encoder half of a diffusers `AutoencoderKL`: the fields of its `config.json` that build it, by its names."""

    block_out_channels: tuple[int, ...] = (64,)
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    act_fn: str = "silu"
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    scaling_factor: float = 0.18215
    shift_factor: float | None = None

    @property
    def stride(self) -> int:
        """f: every block but the last halves the resolution."""
        stride: int = 2 ** (len(self.block_out_channels) - 1)
        return stride
