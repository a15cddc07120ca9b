"""A model folder: its files, and the one schema of its `config.json`.

The gateway lists models by it, and training and workers write and load them by it (`models.checkpoint`). So nothing
here needs torch.
"""

import hashlib
import json
from dataclasses import asdict, field
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from models.config import LDiffusionConfig, ObjectConfig
from models.settings import check_json, settings, stated

FORMAT: Final = 1
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
NAME: Final = r"[a-z0-9][a-z0-9_-]{0,63}"

Precision = Literal["float32", "bfloat16"]
ModelName = Annotated[str, Field(pattern=f"^{NAME}$")]
Channel = Annotated[int, Field(ge=0, le=255)]
Pixels = Annotated[int, Field(gt=0)]
Concept = tuple[
    Annotated[str, Field(pattern="^[0-9]{6,18}$")], Annotated[str, Field(pattern=r"^[^\\\x00-\x1f]{1,64}$")]
]


@settings
class ModelClass:
    """One class: index 0 is the background.

    Attributes:
        index: Value in the labels.
        name: What people call it.
        color: For people, as `snomed` is: no label depends on either.
        snomed: Code and meaning of the SNOMED CT concept that it is, for DICOM.
    """

    index: Annotated[int, Field(ge=0, le=254)]
    name: str
    color: tuple[Channel, Channel, Channel]
    snomed: Concept | None = None

    def entry(self) -> dict[str, Any]:
        """Return what `config.json` says of it; a class without a concept does not mention one."""
        told = asdict(self)
        if self.snomed is None:
            del told["snomed"]
        return told


def _told(network: LDiffusionConfig) -> dict[str, Any]:
    """Return what `config.json` says of a network.

    Options that came after the first models are told where they are used: files of models without stay what they were.
    """
    whole = asdict(network)
    for table, kept, later in (
        (whole, stated(network), ("colour", "scale_maps")),
        (whole["network"], stated(network.network), ("norm", "vectors")),
    ):
        for key in later:
            if key not in kept:
                del table[key]
    return whole


def _numbered(classes: tuple[ModelClass, ...]) -> tuple[ModelClass, ...]:
    indices = [one.index for one in classes]
    if indices != list(range(len(indices))) or len(indices) < 2:
        raise ValueError(f"numbered {indices}; accepted: 0, 1, 2, … in order, a background and one more at least")
    return classes


Classes = Annotated[tuple[ModelClass, ...], AfterValidator(_numbered)]


@settings
class Half:
    """What is known of a model in bfloat16.

    Attributes:
        full: Parts that compute in float32 all the same, by the names of their modules.
        labels_equal: Share of the pixels held out of training whose label is the one of float32.
    """

    full: tuple[str, ...]
    labels_equal: Annotated[float, Field(ge=0, le=1)]


@settings
class Memory:
    """What it takes on a processor, as `python -m benchmarks.activations` measured it.

    Attributes:
        loaded: Bytes that the loaded model adds to a process.
        per_px: Bytes per px of a forward pass in float32.
        per_px_half: The same in bfloat16; none where it does not compute in that.
    """

    loaded: Annotated[int, Field(ge=0)]
    per_px: Annotated[float, Field(gt=0)]
    per_px_half: Annotated[float, Field(gt=0)] | None = None


@settings
class ModelSpec:
    """What `config.json` says of a model, but for its weights.

    Attributes:
        name: Of the model and its folder.
        title: What it is, in a line.
        mpp: µm per working px.
        classes: Background first.
        tile_px: Side of the core of one forward pass, in working px.
        halo_px: Context read around a core, in working px.
        stride_px: Origins and sizes of tiles are multiples of this, in working px.
        license: Of weights and training data.
        intended_use: What it is for.
        network: How to build it.
        objects: What counts as one object.
        figures: Measured on held-out data.
        training: Seed and steps, for people.
        temperature: What the classes' logits are divided by for the confidence; no label depends on it.
        half: How it computes in bfloat16; none: not at all.
        memory: What it takes; no label depends on it.
        cpu_s_per_mm2: What it costs in float32 on one thread, as `python -m benchmarks.model` measured it.
    """

    name: ModelName
    title: str
    mpp: Annotated[float, Field(gt=0)]
    classes: Classes
    tile_px: Pixels
    halo_px: Annotated[int, Field(ge=0)]
    stride_px: Pixels
    license: str
    intended_use: str
    network: LDiffusionConfig
    objects: ObjectConfig = field(default_factory=ObjectConfig)
    figures: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    temperature: Annotated[float, Field(gt=0)] = 1.0
    half: Half | None = None
    memory: Memory | None = None
    cpu_s_per_mm2: Annotated[float, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        if self.tile_px % self.stride_px:
            raise ValueError(f"tile_px is {self.tile_px}; accepted: a multiple of stride_px = {self.stride_px}")
        if len(self.classes) != self.network.num_classes:
            raise ValueError(
                f"network.num_classes is {self.network.num_classes}; accepted: {len(self.classes)}, as many as classes"
            )

    def to_json(self, weights_sha256: str) -> str:
        """Return the text of `config.json` beside weights of this digest."""
        body = {
            "format": FORMAT,
            "name": self.name,
            "title": self.title,
            "mpp": self.mpp,
            "classes": [one.entry() for one in self.classes],
            "tile_px": self.tile_px,
            "halo_px": self.halo_px,
            "stride_px": self.stride_px,
            "exact_tiling": self.network.exact_tiling,
            "license": self.license,
            "intended_use": self.intended_use,
            "figures": self.figures,
            "weights_sha256": weights_sha256,
            "objects": asdict(self.objects),
            "network": _told(self.network),
            "training": self.training,
        }
        if self.temperature != 1:  # files of models without one stay what they were
            body["temperature"] = self.temperature
        if self.half is not None:
            body["half"] = asdict(self.half)
        if self.memory is not None:
            body["memory"] = asdict(self.memory)
        if self.cpu_s_per_mm2 is not None:
            body["cpu_s_per_mm2"] = self.cpu_s_per_mm2
        return json.dumps(body, indent=2) + "\n"


@settings
class ModelConfig(ModelSpec):
    """`config.json`, whole.

    Attributes:
        format: Of the file.
        weights_sha256: Of the weights beside it, in hex.
        exact_tiling: Whether a halo makes the answer independent of the tiles. It follows from the network; files made
            before do not say it.
    """

    format: Literal[1] = field(kw_only=True)
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = field(kw_only=True)
    exact_tiling: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exact_tiling not in (None, self.network.exact_tiling):
            raise ValueError(f"exact_tiling is {self.exact_tiling}; accepted: {self.network.exact_tiling}")

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all that decides labels, objects and confidence: of one digest, two models give the same.

        Name, title, colours, concepts and figures are for people, and a change of them leaves the digest what it is.
        """
        decides = {
            "weights_sha256": self.weights_sha256,
            "network": stated(self.network),
            "classes": [one.name for one in self.classes],
            "mpp": self.mpp,
            "tile_px": self.tile_px,
            "halo_px": self.halo_px,
            "stride_px": self.stride_px,
        }
        if objects := stated(self.objects):
            decides["objects"] = objects
        if self.temperature != 1:
            decides["temperature"] = self.temperature
        if self.half is not None:
            decides["half"] = list(self.half.full)
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def read_config(text: bytes, file: str) -> ModelConfig:
    """Return what the text of a `config.json` says; `file` is its name, for messages.

    Raises:
        SettingsError: It is no JSON, of another format, or not valid; one line for each fault.
    """
    return check_json(ModelConfig, text, file)
