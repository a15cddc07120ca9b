"""Hamamatsu NDPI. VMS and VMU are sets of files that name each other, and are not taken."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("hamamatsu", "Hamamatsu NDPI", "a real file")
