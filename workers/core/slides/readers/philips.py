"""Philips TIFF: levels padded to whole tiles; OpenSlide knows their true downsample."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("philips", "Philips TIFF", "none")
