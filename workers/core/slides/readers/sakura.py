"""Sakura SVSLIDE: a database of tiles."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("sakura", "Sakura SVSLIDE", "none")
