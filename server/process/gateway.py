"""The gateway as a process: `python -m server.process.gateway`. With `--fd` it listens on a socket that is open."""

import logging
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import uvicorn

from server.access.exposure import check_exposure
from server.access.forwarded import counted_as
from server.access.gate import PUBLIC
from server.access.keys import Keys
from server.access.protection import protect
from server.app import create_app, routes_of_rooms
from server.process.access_log import guard_access_log
from server.process.descriptors import raise_descriptor_limit, room_for_connections
from server.routes.page import PUBLIC as PAGES
from server.routes.uploads import is_streamed
from server.web.connections import Door, Limits
from server.web.guarded_http import guarded
from server.web.request_ids import ids_of_request, tell_request
from server.web.root_path import root_path_of, without_root
from workers.core.command_line import CONTEXT, error_line, run
from workers.core.confinement.lock import stay_unseen
from workers.core.confinement.private import make_private, stay_private
from workers.core.errors.base import LDiffusionError
from workers.core.settings import Settings
from workers.core.slides.versions import check_readers
from workers.core.telemetry.logs import start_logs

GRACE_S = 8
LOG_FORMAT = "%(asctime)s %(levelname)s gateway %(name)s%(request)s: %(message)s"
logger = logging.getLogger(__name__)


def limits_of(settings: Settings) -> Limits:
    """Return what connections may cost; of them no more than there are descriptors for."""
    room = room_for_connections(settings.connections_max)
    if room < settings.connections_max:
        logger.warning("only %d connections, and not %d: there are too few descriptors", room, settings.connections_max)
    return Limits(
        head_bytes=settings.head_max_bytes,
        head_lines=settings.head_max_lines,
        line_bytes=settings.head_max_bytes // 2,
        head_s=settings.head_timeout_s,
        body_idle_s=settings.body_idle_s,
        upload_idle_s=settings.upload_idle_s,
        connections=room,
        per_address=settings.connections_per_address,
    )


def _is_upload(root_path: str, method: str, path: str) -> bool:
    own = without_root(root_path, path)
    return is_streamed(method, own) or (method == "POST" and is_streamed("PATCH", own))  # a PATCH may come as a POST


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn serves the gateway."""
    root = root_path_of(settings)
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,  # `server.access.forwarded` knows them
        "timeout_graceful_shutdown": GRACE_S,
        "ws": "none",
        "http": guarded(Door(limits_of(settings), counted_as(settings)), partial(_is_upload, root), root),
    }
    app = protect(create_app(settings), settings, (*PUBLIC, *PAGES), routes_of_rooms())
    return uvicorn.Config(app, **options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    return run(_command, "python -m server.process.gateway", arguments)


@click.command(context_settings=CONTEXT)
@click.option("--fd", type=int, help="file descriptor of a listening socket")
def _command(fd: int | None) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    start_logs("gateway", settings.log_format, LOG_FORMAT, tell_request, ids_of_request)
    guard_access_log()
    stay_private()
    stay_unseen()  # a child that was taken over runs as the same user
    raise_descriptor_limit()
    try:
        check_readers()
        make_private(settings.data_dir)
        check_exposure(settings, Keys(settings.data_dir).read(), datetime.now(UTC))
        config = server_config(settings)
    except LDiffusionError as error:
        logger.critical("%s", error_line(error))
        return 2
    sockets = None if fd is None else [socket.socket(fileno=fd)]
    uvicorn.Server(config).run(sockets=sockets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
