"""Ventana BIF: overlapping tiles that the XML puts in place."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("ventana", "Ventana BIF", "none")
