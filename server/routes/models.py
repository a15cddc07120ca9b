"""The installed models."""

from fastapi import APIRouter

from server.routes.deps import SettingsDep
from server.web.errors import error_responses
from workers.core.frozen import Frozen
from workers.core.model import catalogue
from workers.core.model.schemas import ModelCard

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelList(Frozen):
    """All models, by name."""

    items: tuple[ModelCard, ...]


@router.get("")
def list_models(settings: SettingsDep) -> ModelList:
    """List the installed models: classes, resolution, licence, intended use, measured figures."""
    return ModelList(items=tuple(catalogue.list_models(settings.models_dir)))


@router.get("/{name}", responses=error_responses(404, 422))
def get_model(name: str, settings: SettingsDep) -> ModelCard:
    """Look at one model."""
    return catalogue.find_model(settings.models_dir, name)
