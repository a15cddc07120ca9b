"""Does a model suit a slide? Fluorescence looks like the negative of bright field: a model takes one."""

from workers.core.errors.jobs import ModalityMismatch
from workers.core.model.schemas import ModelCard
from workers.core.schemas import JobRequest
from workers.core.slide_schemas import SlideInfo
from workers.core.slides.images import is_of_record

FLUORESCENCE = "fluorescence"


def suits(info: SlideInfo, card: ModelCard) -> bool:
    """Whether the slide is of the kind that the model was trained on; one of an unknown kind may be."""
    if info.modality is None or info.modality.name == "unknown":
        return True
    return (info.modality.name == FLUORESCENCE) == (card.modality == FLUORESCENCE)


def require_modality(info: SlideInfo, request: JobRequest, card: ModelCard) -> None:
    """Refuse a slide of another kind than the model's, unless the request says that this is known.

    Args:
        info: What is known of the slide; of a job on another image than it is about nothing is known here.
        request: What is asked.
        card: The model.

    Raises:
        ModalityMismatch: It is of another kind.
    """
    if not is_of_record(info, request.image):  # nothing is known of that image before it is opened
        return
    if request.ignore_modality or suits(info, card) or info.modality is None:
        return
    channels = f"; channels {', '.join(info.content.channels)}" if info.content.channels else ""
    raise ModalityMismatch(
        f"This slide is {info.modality.name.replace('_', ' ')}, and {card.name} was trained on {card.modality}.",
        value=f"{'; '.join(info.modality.evidence)}{channels}",
        accepted=f"a {card.modality} slide, or ignore_modality to run it all the same",
    )
