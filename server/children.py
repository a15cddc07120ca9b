"""How this project starts its own modules as processes: same interpreter, same code, settings in the environment."""

import os
import sys
from pathlib import Path

from workers.core.settings import Settings

CODE_ROOT = Path(__file__).resolve().parents[1]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module of ours. `-P`: a `workers` folder where the user stands is not ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(settings: Settings | None = None) -> dict[str, str]:
    """Return the environment of a module of ours: this one, our code first, and these settings."""
    environment = dict(os.environ)
    paths = [str(CODE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    for name in Settings.model_fields if settings else ():
        environment[f"LDIFFUSION_{name.upper()}"] = str(getattr(settings, name))
    return environment
