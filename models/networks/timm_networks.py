"""timm's networks by name; only the module that has the network is imported, where it is known which that is.

`create_model` and `is_model` are those of `timm.models`, from where they lie: to ask the package for them imports all.
"""

from importlib import import_module
from types import ModuleType
from typing import Any, Final

import models.postponed  # before timm

import timm.models
from timm.models._factory import create_model
from timm.models._registry import is_model

# Beginning of the names of a family → its module below `timm.models`. Shipped models have these.
_FAMILIES: Final = {"convnext": "convnext", "tf_efficientnet": "efficientnet"}


def has_network(name: str) -> bool:
    """Return whether timm has a network of this name, as far as the dot before the name of its weights."""
    architecture = name.split(".", maxsplit=1)[0]
    for beginning, module in _FAMILIES.items():
        if architecture.startswith(beginning):
            import_module(f"timm.models.{module}")
    if not is_model(architecture):
        everything: ModuleType = timm.models
        models.postponed.run_init(everything)
    found: bool = is_model(architecture)
    return found


def make_network(name: str, **options: Any) -> Any:
    """Build a network, with random weights, that gives its features; options are those of `timm.create_model`.

    Raises:
        ValueError: timm has none of that name.
    """
    if not has_network(name):
        raise ValueError(f"timm has no network {name!r}")
    return create_model(name, pretrained=False, features_only=True, **options)
