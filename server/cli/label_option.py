"""The option `--label KEY=VALUE` of commands that send slides."""

from typing import Any

import click

from workers.core.own_labels import KEYS, VALUES, is_key, is_value


class LabelOption(click.ParamType[Any]):
    """A label of one's own: its name and what it says."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return name and value; what the server would refuse is refused before anything is sent."""
        key, _, text = value.partition("=")
        if not is_key(key) or not is_value(text):
            self.fail(f"{value!r} is no label; accepted are a name of {KEYS}, `=`, and {VALUES}", param, ctx)
        return key, text
