"""What clients and workers know of a model: its folder's `config.json` without the network's own numbers."""

from typing import Literal

from pydantic import Field

from workers.core.frozen import Frozen

Precision = Literal["float32", "bfloat16"]


class ModelClass(Frozen):
    """One class of a model. Index 0 is the background."""

    index: int = Field(ge=0, le=254)
    name: str
    color: tuple[int, int, int]
    snomed: tuple[str, str] | None = Field(
        default=None,
        description="Code and meaning of the SNOMED CT concept that it is; None if the model does not say.",
        examples=[["84640000", "Nucleus"]],
    )


class ObjectRules(Frozen):
    """What counts as one object of a class: `objects` of a model's `config.json`."""

    smallest_um2: float = Field(default=0.0, ge=0, description="Smaller ones are left out of polygons and tables.")
    prominence: float = Field(default=0.25, gt=0, le=1, description="What a maximum of the interior stands out by.")
    smooth_um: float = Field(default=0.0, ge=0, description="Standard deviation by which the interior is smoothed.")
    least_interior: float = Field(default=0.0, ge=0, le=1, description="A small component below it is background.")
    interior: bool = Field(default=False, description="Whether the model gives an interior map, to tell objects apart.")


class ModelMemory(Frozen):
    """What a model takes on a processor, measured: `memory` of its `config.json`."""

    loaded: int = Field(ge=0, description="Bytes that the loaded model adds to a worker.")
    per_px: float = Field(gt=0, description="Bytes per px of a forward pass, halo included, in float32.")
    per_px_half: float | None = Field(default=None, gt=0, description="The same in bfloat16, where it may.")


class ModelCard(Frozen):
    """What a client may know of a model: `config.json` of its folder without the network's own numbers."""

    name: str
    title: str
    mpp: float = Field(gt=0, description="µm per working-plane px the model was trained at.")
    classes: tuple[ModelClass, ...]
    tile_px: int = Field(gt=0, description="Side of the core of one forward pass, in working px.")
    modality: Literal["brightfield", "fluorescence"] = Field(
        default="brightfield", description="What it was trained on; slides of the other kind are refused."
    )
    halo_px: int = Field(ge=0, description="Context read around a core and cropped from the result, in working px.")
    stride_px: int = Field(gt=0, description="Origins of tiles are multiples of this.")
    digest: str = Field(
        description="SHA-256 of all that decides labels: weights, network, names of the classes, mpp and tile sizes."
    )
    license: str
    intended_use: str
    objects: ObjectRules = ObjectRules()
    half: bool = Field(default=False, description="Whether it may compute in bfloat16 where that is faster.")
    memory: ModelMemory | None = Field(default=None, description="None where nobody has measured it.")
    heavy: bool = Field(default=False, description="Whether its regions are for workers with a GPU, where there are.")
    figures: dict[str, float] = Field(default_factory=dict, description="Measured on held-out data.")
