"""3DHISTECH MIRAX: a folder of data files beside the `.mrxs`."""

from workers.core.slides.readers.openslide_reader import openslide_format

FORMAT = openslide_format("mirax", "MIRAX", "files made by script", has_several_files=True)
