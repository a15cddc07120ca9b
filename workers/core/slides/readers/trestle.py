"""Trestle TIFF: levels of JPEG tiles that overlap."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("trestle", "Trestle TIFF", "none")
