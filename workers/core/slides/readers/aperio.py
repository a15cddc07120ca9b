"""Leica Biosystems Aperio: JPEG or JPEG 2000 tiles, the label and the macro behind the levels."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("aperio", "Aperio SVS", "a real file", strip="tiff", stored_tiles=("openslide",))
