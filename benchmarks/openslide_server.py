"""The server to compare with: OpenSlide's Python binding behind Flask, one thread a request, as its examples show it.

`python -m benchmarks.openslide_server SLIDE --fd N --tile-px 256 --overlap 0`. Its defaults are tiles of 254 px that
overlap by 1; with the tile side of the slide's own tiles and no overlap it is faster, and that is what we compare with.
"""

import io
import socket
from pathlib import Path

import click
import openslide
from flask import Flask, abort, make_response
from flask.wrappers import Response
from openslide.deepzoom import DeepZoomGenerator
from werkzeug.serving import make_server

from workers.core.command_line import CONTEXT

CACHE_BYTES = 128 * 2**20
QUALITY = 75


def create_app(slide: Path, tile_px: int, overlap: int) -> Flask:
    """Return the application that serves the Deep Zoom tiles of one slide."""
    app = Flask(__name__)
    opened = openslide.OpenSlide(slide)
    opened.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
    generator = DeepZoomGenerator(opened, tile_size=tile_px, overlap=overlap, limit_bounds=False)

    @app.route("/slide.dzi")
    def describe() -> Response:
        response = make_response(generator.get_dzi("jpeg"))
        response.mimetype = "application/xml"
        return response

    @app.route("/slide_files/<int:level>/<int:col>_<int:row>.jpeg")
    def tile(level: int, col: int, row: int) -> Response:
        try:
            picture = generator.get_tile(level, (col, row))
        except ValueError:
            abort(404)
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=QUALITY)
        response = make_response(file.getvalue())
        response.mimetype = "image/jpeg"
        return response

    return app


@click.command(context_settings=CONTEXT, help=__doc__.splitlines()[0])
@click.argument("slide", type=click.Path(path_type=Path))
@click.option("--fd", type=int, required=True, help="file descriptor of a listening socket")
@click.option("--tile-px", type=int, default=254)
@click.option("--overlap", type=int, default=1)
def main(slide: Path, fd: int, tile_px: int, overlap: int) -> None:
    app = create_app(slide, tile_px, overlap)
    port = socket.socket(fileno=fd).detach()
    make_server("127.0.0.1", 0, app, threaded=True, fd=port).serve_forever()


if __name__ == "__main__":
    main()
