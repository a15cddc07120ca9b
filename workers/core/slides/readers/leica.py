"""Leica SCN: a BigTIFF whose XML says which images are parts of the slide."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("leica", "Leica SCN", "none")
