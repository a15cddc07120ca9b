"""Where the index lies: in a file of the data folder, in PostgreSQL, or, while neither can be had, in memory.

What is in it can be read from the disk again at any time. So one that is damaged, of another version or gone is made
anew, and one that is locked, read-only or out of reach makes nothing fail.
"""

import logging
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, ProgrammingError
from sqlalchemy.pool import StaticPool

from server.catalogue.tables import METADATA, VERSION, VERSIONS
from workers.core.errors.base import RequestInvalid

FILE = "catalogue.sqlite"
BUSY_S = 5.0
"""How long one waits for another who writes."""

CONNECT_S = 3
DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT"}
"""What SQLite says of a file that is none of ours, or no whole one; `SQLITE_ERROR`: it lacks a table or column."""

TABLES_LOCK = 0x1D1FF
"""Who makes the tables in PostgreSQL holds the advisory lock of this number."""

ACCEPTED = "postgresql://user:password@host/database, or nothing for a file in the data folder"

logger = logging.getLogger(__name__)


class Database:
    """The index of one data folder, wherever it lies.

    Args:
        root: The data folder.
        url: Address of a PostgreSQL database; empty: a file in the data folder.

    Raises:
        RequestInvalid: The address is none, or of something else.
    """

    def __init__(self, root: Path, url: str = "") -> None:
        self._path = root / FILE
        self._url = _address(url) if url else None
        self._engine: Engine | None = None
        self._inode = 0
        self.is_memory = False

    def engine(self) -> Engine:
        """Return the index, with its tables; opened if it is not, or if somebody has taken its file away.

        Raises:
            SQLAlchemyError, sqlite3.Error: It cannot be had.
        """
        if self._engine is None or not (self.is_memory or self._is_there()):
            return self.take(self.opened())
        return self._engine

    def opened(self) -> Engine:
        """Return the index that lasts, opened once more.

        Raises:
            SQLAlchemyError, sqlite3.Error: It cannot be had.
        """
        engine = _of_url(self._url) if self._url else _of_file(self._path)
        try:
            _make_tables(engine)
        except Exception:
            engine.dispose()
            raise
        return engine

    def take(self, engine: Engine) -> Engine:
        """Go on with an index that lasts and was opened just now; return it."""
        self.close()
        self._engine, self._inode = engine, self._inode_now()
        return engine

    def remake(self) -> None:
        """Have an index that is harmed made anew when it is opened next.

        A file is removed. In a database, which may be others' too, what is whole stays: see `_make_tables`.

        Raises:
            OSError: It cannot be removed.
        """
        self.close()
        if self._url is None:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(FILE + suffix).unlink(missing_ok=True)

    def go_without(self) -> None:
        """Go on with an index in memory."""
        self.close()
        self._engine, self.is_memory = _in_memory(), True
        _make_tables(self._engine)

    def close(self) -> None:
        """Let go of all connections."""
        if self._engine is not None:
            self._engine.dispose()
        self._engine, self.is_memory = None, False

    def _is_there(self) -> bool:
        """Whether the file is still the one that was opened."""
        return bool(self._url) or self._inode_now() == self._inode

    def _inode_now(self) -> int:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return -1


def is_damage(error: Exception) -> bool:
    """Whether an error says that the index is no whole one, and not that it cannot be had just now."""
    origin = getattr(error, "orig", error)
    return isinstance(error, ProgrammingError) or getattr(origin, "sqlite_errorname", "") in DAMAGED


def told(error: Exception) -> str:
    """Return an error as a log may show it: without statements and values, which may name patients."""
    origin = getattr(error, "orig", None) or error
    return f"{type(origin).__name__} {getattr(origin, 'sqlite_errorname', '') or getattr(origin, 'sqlstate', '') or ''}"


def _address(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise RequestInvalid("catalogue_url: that is no address.", accepted=ACCEPTED) from None
    if parsed.get_backend_name() != "postgresql":
        raise RequestInvalid(
            "catalogue_url: the index can be in PostgreSQL.", value=parsed.drivername, accepted=ACCEPTED
        )
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _of_url(url: str) -> Engine:
    options = {"connect_timeout": CONNECT_S}
    return create_engine(url, connect_args=options, pool_pre_ping=True, hide_parameters=True)


def _of_file(path: Path) -> Engine:
    return _sqlite(URL.create("sqlite", database=str(path)), {"timeout": BUSY_S}, journal="WAL")


def _in_memory() -> Engine:
    return _sqlite(URL.create("sqlite"), {"check_same_thread": False}, poolclass=StaticPool)


def _sqlite(url: URL, options: dict[str, Any], journal: str = "", **more: Any) -> Engine:
    """Return an engine whose transactions begin where they are to: who will write waits for its turn first."""
    engine = create_engine(url, connect_args=options, hide_parameters=True, **more)

    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        if journal:
            connection.execute(f"PRAGMA journal_mode={journal}")
            connection.execute("PRAGMA synchronous=NORMAL")  # what a power failure takes is read again at the start

    def begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", begin)
    return engine


def _make_tables(engine: Engine) -> None:
    """Make the tables, unless all are there in this version: of several who find them harmed, only one does."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TABLES_LOCK})
        there = {*inspect(connection).get_table_names()} & {*METADATA.tables}
        if VERSIONS.name in there:
            if there == {*METADATA.tables} and connection.scalar(select(VERSIONS.c.version)) == VERSION:
                return
            logger.warning("the index of slides and jobs is not whole, or of another version, and is made anew")
        METADATA.drop_all(connection)
        METADATA.create_all(connection)
        connection.execute(VERSIONS.insert().values(version=VERSION))
