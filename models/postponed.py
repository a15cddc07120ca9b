"""Packages of others whose `__init__` waits until somebody asks for what only it defines.

To import one module of timm runs the `__init__` of each package above it: a hundred networks, loaders of data,
torchvision. A worker wants two of the networks, and is ready seconds later for the rest. So a finder of ours comes
before Python's: of the packages named here it makes the module without its contents. Modules below it are imported as
ever. A name that the package lacks is looked for in the modules of constants named here, and else the `__init__` runs,
once, and all is as if it had run at first. Import this before timm or torchvision.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any, Final

import models.torch_compat  # noqa: F401  (the `__init__` of torchvision may run after all)

PARTS: Final = {
    "timm": ("version",),
    "timm.data": ("constants",),
    "timm.models": (),
    "torchvision": (),
    "torchvision.models": (),
    "torchvision.ops": (),
}
"""Packages that wait, and their modules of constants, in which a name is looked for first."""

_lock: Final = RLock()


class Postponed(ModuleType):
    """A package whose `__init__` has not run."""

    def __getattr__(self, name: str) -> Any:
        """Find a name that is not here: in the package's parts, else by running its `__init__`.

        Raises:
            AttributeError: It has no such name.
        """
        with _lock:
            if isinstance(self, Postponed):
                for part in PARTS[self.__name__]:
                    found = vars(import_module(f"{self.__name__}.{part}"))
                    if name in found:
                        return found[name]
                run_init(self)
        return getattr(self, name)


class Waiting(Loader):
    """Makes the module of a package, and runs nothing.

    Args:
        loader: Python's own.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Have Python make an empty module."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty, but for where it lies."""
        module.__class__ = Postponed


class Finder(MetaPathFinder):
    """Finds the packages that wait; all else is found by those after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make a package that waits; None for any other module."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname in PARTS else None
        if spec is not None and spec.loader is not None:
            spec.loader = Waiting(spec.loader)
        return spec


def run_init(package: ModuleType) -> None:
    """Run the `__init__` of a package that waits."""
    spec = package.__spec__
    if spec is not None and isinstance(spec.loader, Waiting):
        package.__class__ = ModuleType
        package.__loader__ = spec.loader = spec.loader.loader
        spec.loader.exec_module(package)


if not any(isinstance(finder, Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, Finder())
