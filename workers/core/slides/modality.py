"""Is a slide bright field or fluorescence, and if bright field, H&E? Told from its channels and from a small picture.

On bright field the ground is the light of the lamp and tissue is darker; on fluorescence the ground is dark and what
glows is coloured. Scanners fill unscanned places with black on either, so what is nearly black says nothing.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.core.slide_schemas import Modality, SlideContent
from workers.core.slides.geometry import level_for_side
from workers.core.slides.slide import Pixels, Slide
from workers.core.slides.tolerant import TolerantSlide

SIDE_PX = 512
"""Side of the picture that is looked at."""

WHOLE_PX = 2**24
"""A level of no more px is reduced as a whole; of a larger one patches are read."""

PATCHES, PATCH_PX = 12, 32

BLACK_MAX = 24
"""The brightest channel of a px that says nothing: fill, or the dark ground itself."""

PALE_MIN = 120
"""The darkest channel of lamp light and of pale tissue. Glowing colours leave one channel dark."""

DARK_GROUND_MAX = 0.02
"""On fluorescence no more of the lit px than this are pale."""

GROUND_MAX, GROUND_MIN_SHARE = 48, 0.2
"""The brightest channel of a dark ground, and as much of the picture it is, at least."""

DIM_MAX = 60
"""Half of what is lit on a dark ground leaves its darkest channel below this; glass and tissue do not."""

GLOW_MIN_SHARE = 0.8
"""Or as many of the lit px glow in one or two colours: their darkest channel is below a third of their brightest."""

TISSUE_OD = 0.08
"""Mean optical density from which a px is tissue."""

TISSUE_MIN_SHARE = 0.002
HE_MIN_SHARE = 0.6
"""As many of the tissue's px have green as their darkest channel on H&E: eosin and haematoxylin both absorb it most."""

GREY_MAX = 3
"""The channels of a grey px differ by no more than this; a JPEG moves them by one or two."""

GREY_MIN_SHARE = 0.999


def modality_of(slide: Slide) -> Modality:
    """Return how a slide was made to be seen.

    Raises:
        SlideUnreadable: A tile cannot be decoded.
    """
    return judge(sample(slide), slide.content)


def modality_of_file(path: Path, image: int | None = None) -> Modality:
    """Return how a slide was made to be seen. A tile that cannot be decoded counts as white, and refuses nothing here.

    The slide is opened anew: a reader that failed once may fail for ever after.

    Raises:
        SlideUnreadable: No reader opens it.
    """
    with TolerantSlide(path, image) as slide:
        return modality_of(slide)


def sample(slide: Slide) -> Pixels:
    """Return a small picture of the slide, uint8 (height, width, 3): all of it, or patches on a grid side by side."""
    level = level_for_side(slide.geometry, SIDE_PX)
    size = slide.geometry.levels[level]
    if size.width * size.height <= WHOLE_PX:
        return slide.thumbnail(SIDE_PX)
    columns = np.linspace(0, size.width - PATCH_PX, PATCHES).astype(int)
    rows = np.linspace(0, size.height - PATCH_PX, PATCHES).astype(int)
    strips = [np.hstack([slide.read_level(level, int(x), int(y), PATCH_PX, PATCH_PX) for x in columns]) for y in rows]
    return np.vstack(strips)


def is_grey(picture: Pixels) -> bool:
    """Whether a picture, uint8 (height, width, 3), shows something, and all of it without colours."""
    lit = picture.reshape(-1, 3)
    lit = lit[lit.max(axis=1) > BLACK_MAX]
    if not len(lit) or float((_density(lit).mean(axis=1) > TISSUE_OD).mean()) < TISSUE_MIN_SHARE:
        return False
    return float((np.ptp(lit, axis=1) <= GREY_MAX).mean()) >= GREY_MIN_SHARE


def judge(picture: Pixels, content: SlideContent) -> Modality:
    """Return the modality of a picture, uint8 (height, width, 3), given what the file says of its channels."""
    lit = picture.reshape(-1, 3)
    lit = lit[lit.max(axis=1) > BLACK_MAX]
    pale = float((lit.min(axis=1) >= PALE_MIN).mean()) if len(lit) else 0.0
    seen = f"{pale:.1%} of the px that are not black are pale"
    if content.channels and not _are_colours(content.channels, pale):
        return Modality(
            name="fluorescence", evidence=(f"the file names the channels {', '.join(content.channels)}", seen)
        )
    if len(lit) == 0:
        return Modality(name="unknown", evidence=("the picture is black",))
    if pale <= DARK_GROUND_MAX and _is_stained(lit):
        return Modality(name="brightfield_he", evidence=(seen, "no glass, and the colours of H&E"))
    ground = float((picture.max(axis=2) <= GROUND_MAX).mean())
    glow = float((lit.min(axis=1) < lit.max(axis=1) / 3).mean())
    told = f"{ground:.0%} of the picture is dark ground, {glow:.0%} of the rest glow in one colour"
    is_dim = ground >= GROUND_MIN_SHARE and float(np.median(lit.min(axis=1))) < DIM_MAX
    if is_dim or (pale <= DARK_GROUND_MAX and glow >= GLOW_MIN_SHARE):
        return Modality(name="fluorescence", evidence=(told, seen))
    if pale <= DARK_GROUND_MAX:
        return Modality(name="unknown", evidence=(told, seen))
    return _bright(lit, seen)


def _are_colours(channels: tuple[str, ...], pale: float) -> bool:
    """Whether three channels without names are red, green and blue: their picture is one of bright field."""
    unnamed = all(name == f"channel {index + 1}" for index, name in enumerate(channels))
    return len(channels) == 3 and unnamed and pale > DARK_GROUND_MAX


def _bright(lit: npt.NDArray[np.uint8], seen: str) -> Modality:
    tissue = lit[_density(lit).mean(axis=1) > TISSUE_OD]
    share = len(tissue) / len(lit)
    if share < TISSUE_MIN_SHARE:
        return Modality(name="unknown", evidence=(seen, f"{share:.2%} of them are stained"))
    green = _share_green(tissue)
    stain = f"in {green:.0%} of the stained px green is the darkest channel"
    return Modality(name="brightfield_he" if green >= HE_MIN_SHARE else "brightfield_other", evidence=(seen, stain))


def _is_stained(lit: npt.NDArray[np.uint8]) -> bool:
    """Whether px without any glass among them are those of an H&E section: every channel lit, and green the least."""
    is_full = float((lit.min(axis=1) > BLACK_MAX).mean()) > 0.8
    return is_full and _share_green(lit) >= HE_MIN_SHARE and float(np.median(lit.max(axis=1))) > PALE_MIN


def _density(lit: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the optical density of each channel, below the brightest hundredth as the lamp."""
    lamp = np.maximum(np.percentile(lit, 99, axis=0), 1.0)
    return np.maximum(0.0, -np.log10(np.maximum(lit, 1.0) / lamp))


def _share_green(tissue: npt.NDArray[np.uint8]) -> float:
    red, green, blue = tissue.T
    return float(((green <= red) & (green <= blue) & (green < np.maximum(red, blue))).mean())
