"""What is known of the pictures in a slide's file, and what of it cannot be trusted: frozen pydantic models."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MppOrigin = Literal["tiff", "ome", "imagej", "vendor", "dicom", "zarr", "person"]
"""Where a slide's own µm per pixel were found: TIFF resolution, OME-XML, ImageJ's unit, a vendor's tag, DICOM pixel
spacing, the scale of an OME-Zarr; or a person gave them."""

ImageKind = Literal["slide", "associated"]
ModalityName = Literal["brightfield_he", "brightfield_other", "fluorescence", "unknown"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrustWarning(_Frozen):
    """A reason why a result cannot be trusted as it is. It never stops a job; whoever reads the result is told."""

    code: str = Field(description="For programs.", examples=["planes_unread"])
    message: str = Field(description="One sentence for people.")
    value: str | None = Field(default=None, description="What was found.")

    def __str__(self) -> str:
        return f"{self.code}: {self.message}{f' ({self.value})' if self.value else ''}"


class ImageEntry(_Frozen):
    """One picture of a file."""

    index: int = Field(ge=0, description="In the order of the file; a job may ask for it.")
    name: str = Field(default="", description="As the file calls it.")
    width: int = Field(gt=0, description="Px.")
    height: int = Field(gt=0, description="Px.")
    mpp: tuple[float, float] | None = Field(default=None, description="µm per px in x and y, if the file says it.")
    kind: ImageKind = Field(default="slide", description="`associated`: label, macro, thumbnail.")


class SlideContent(_Frozen):
    """Everything that a file holds beside the one picture that is read, so that what is not read is known."""

    images: tuple[ImageEntry, ...] = Field(
        default=(), description="All pictures; empty if the reader knows of one only."
    )
    image: int = Field(default=0, ge=0, description="The picture that is read.")
    channels: tuple[str, ...] = Field(default=(), description="Names of channels that are no colours: fluorescence.")
    z_planes: int = Field(default=1, ge=1)
    z_read: int = Field(default=0, ge=0, description="The focal plane that is read.")
    times: int = Field(default=1, ge=1, description="Moments; the first is read.")
    associated: tuple[str, ...] = Field(default=(), description="Label, macro, thumbnail: pictures that are no slide.")
    icc: bool = Field(default=False, description="The file has a colour profile. It is not applied.")


class Modality(_Frozen):
    """How a slide was made to be seen, as far as its file and its pixels tell."""

    name: ModalityName
    evidence: tuple[str, ...] = Field(default=(), description="What speaks for it, a sentence each.")


PLAIN = SlideContent()
"""One picture and nothing beside it."""
