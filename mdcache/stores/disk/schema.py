"""The schema of the row file: recognise a file as ours, and create a new one.

series     (origin, key) → what is known of it outside all blocks (`state`, with a checksum)
block      a block's record (`block_parts`), the rows appended to its base, and when it was last asked for
base       the block's base; written anew when rows changed or many were appended
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

VERSION = 2
APPLICATION = 0x6D646361  # "mdca": identifies the file in `PRAGMA application_id`
_WAL_BYTES = 16 << 20  # the log is truncated to this after a checkpoint
_SCHEMA = """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY, origin TEXT NOT NULL, market TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        contract_type TEXT NOT NULL, interval TEXT NOT NULL, zone_minutes INTEGER NOT NULL, micros INTEGER NOT NULL,
        state BLOB NOT NULL,
        UNIQUE (origin, market, kind, subject, contract_type, interval, zone_minutes, micros)
    );
    CREATE TABLE block (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL, idx INTEGER NOT NULL, record BLOB NOT NULL,
        appended BLOB NOT NULL, used_ms INTEGER NOT NULL,
        UNIQUE (series, idx)
    );
    CREATE INDEX block_used ON block (used_ms);
    CREATE TABLE base (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
"""

Connect = Callable[[Path], sqlite3.Connection]


class NewerVersion(Exception):
    """The file is of a later version than this release can read, or of another program; it is left unchanged."""


class Outdated(Exception):
    """The file is of an earlier release's version: everything in it can be read from Binance again."""


class Damaged(Exception):
    """The file has our version, but not our tables."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that any thread may use, one at a time, and that begins no transaction by itself."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the file's version, 0 if it is empty.

    Raises:
        NewerVersion: it is later than this release's, or the file is another program's.
        Outdated: it is earlier than this release's.
        Damaged: the file was ours, and is damaged.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if version > VERSION:
        raise NewerVersion(f"{path} has version {version}, newer than the {VERSION} of this release: left as it is")
    if (version or _schema(db)) and application != APPLICATION:
        raise NewerVersion(f"{path} is the database of another program: left as it is")
    if not version and application == APPLICATION:
        raise Damaged(f"{path} has no version")
    if 0 < version < VERSION:
        raise Outdated(f"{path} has version {version}, that of an earlier release")
    if version and _schema(db) != _schema_of_ours():
        raise Damaged(f"{path} has another schema")
    return int(version)


def make_ready(db: sqlite3.Connection, path: Path) -> None:
    """Set up the connection, and create the tables if there are none; raises what `version_of` does."""
    version = version_of(db, path)
    if not version:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    if not version:
        marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}"
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}; {marks}; COMMIT;")


def _schema(db: sqlite3.Connection) -> list[object]:
    columns = ", ".join(
        f"CAST({column} AS BLOB)" for column in ("type", "name", "tbl_name", "sql")
    )  # damaged text may not be UTF-8
    return db.execute(f"SELECT {columns} FROM sqlite_master ORDER BY name").fetchall()


@cache
def _schema_of_ours() -> list[object]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return _schema(db)
