"""The file's schema: how a file is recognised as ours, made ready, and brought to this release's version."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

VERSION = 1
APPLICATION = 0x6D646361  # "mdca": tells this file from others in `PRAGMA application_id`
_WAL_BYTES = 16 << 20  # the log is cut back to it after a checkpoint

# What turns a file of version n into one of n + 1, beginning with version 1's own making.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY, origin TEXT NOT NULL, market TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        contract_type TEXT NOT NULL, interval TEXT NOT NULL, zone_minutes INTEGER NOT NULL, micros INTEGER NOT NULL,
        state BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (origin, market, kind, subject, contract_type, interval, zone_minutes, micros)
    );
    CREATE TABLE span (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL, idx INTEGER NOT NULL, known BLOB NOT NULL,
        base_rows INTEGER NOT NULL, base_bytes INTEGER NOT NULL, base_digest INTEGER NOT NULL,
        young_rows INTEGER NOT NULL, young_digest INTEGER NOT NULL, sum INTEGER NOT NULL, asked INTEGER NOT NULL,
        UNIQUE (series, idx)
    );
    CREATE INDEX span_asked ON span (asked);
    CREATE TABLE base (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    CREATE TABLE young (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    """,
)

Connect = Callable[[Path], sqlite3.Connection]


class NewerVersion(Exception):
    """The file is of a later version than this release can read; it was left as it is."""


class Damaged(Exception):
    """The file is of our version, and not as we make it."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that any one thread at a time may use, and that begins no transaction by itself."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the file's version, 0 for an empty one; raise `NewerVersion` or `Damaged` where it can't be used."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if version > len(MIGRATIONS):
        raise NewerVersion(f"{path} is of version {version}, and this release knows {len(MIGRATIONS)}: left as it is")
    if (version or _schema(db)) and application != APPLICATION:
        raise NewerVersion(f"{path} is a database of another program: left as it is")
    if not version and application == APPLICATION:
        raise Damaged(f"{path}: its version is gone")
    if version == VERSION and _schema(db) != _schema_of_ours():
        raise Damaged(f"{path}: its schema is not ours")
    return int(version)


def make_ready(db: sqlite3.Connection, path: Path) -> None:
    """Set the connection up, and bring the file to this release's version; raises what `version_of` does."""
    version = version_of(db, path)
    if not version:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}; COMMIT;"
        )


def _schema(db: sqlite3.Connection) -> list[object]:
    columns = ", ".join(
        f"CAST({column} AS BLOB)" for column in ("type", "name", "tbl_name", "sql")
    )  # damage is no UTF-8
    return db.execute(f"SELECT {columns} FROM sqlite_master ORDER BY name").fetchall()


@cache
def _schema_of_ours() -> list[object]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        return _schema(db)
