"""The SQL statements on the tables of `schema`, one method each: keys and bytes only, no series or blocks."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

_KEY = "origin, market, kind, subject, contract_type, interval, zone_minutes, micros"
_EVICTION_BATCH = 64  # blocks evicted at a time before the size is checked again

KeyColumns = tuple[str | int, ...]


class Tables:
    """The tables of one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, or roll back on an exception; within an open transaction, join it."""
        inside = self.db.in_transaction
        try:
            if not inside:
                self.db.execute("BEGIN IMMEDIATE")
            yield
            if not inside:
                self.db.execute("COMMIT")
        except BaseException:
            if not inside and self.db.in_transaction:  # SQLite rolls back by itself if it can't continue
                self.db.execute("ROLLBACK")
            raise

    def find_series(self, key: KeyColumns) -> tuple[int, object] | None:
        """Return the row id and the state of a series."""
        where = _KEY.replace(", ", " = ? AND ")
        found: tuple[int, object] | None = self.db.execute(
            f"SELECT id, state FROM series WHERE {where} = ?", key
        ).fetchone()
        return found

    def matching_series(self, origins: Sequence[str], given: Mapping[str, str]) -> list[int]:
        """Return the row ids of the series of these origins with the given column values."""
        where = "".join(f" AND {name} = ?" for name in given)
        marks = ", ".join("?" * len(origins))
        query = f"SELECT id FROM series WHERE origin IN ({marks}){where}"
        return [number for (number,) in self.db.execute(query, (*origins, *given.values()))]

    def block_indexes(self) -> list[tuple[KeyColumns, list[int]]]:
        """Return the indexes of the blocks of each series that has any."""
        found: dict[int, list[int]] = {}
        for series, index in self.db.execute("SELECT series, idx FROM block"):
            found.setdefault(series, []).append(index)
        keys = self.db.execute(f"SELECT id, {_KEY} FROM series")
        return [(tuple(key), found[series]) for series, *key in keys if series in found]

    def put_series(self, key: KeyColumns, state: bytes) -> int:
        """Insert a series, or replace its state; return its row id."""
        (number,) = self.db.execute(
            f"INSERT INTO series ({_KEY}, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state RETURNING id",
            (*key, state),
        ).fetchone()
        return int(number)

    def delete_series(self, series: Iterable[int]) -> None:
        """Delete series with their blocks."""
        with self.transaction():
            for number in series:
                self.delete_blocks([row_id for row_id, _, _ in self.blocks_of(number)])
                self.db.execute("DELETE FROM series WHERE id = ?", (number,))

    def blocks_of(self, series: int) -> list[tuple[int, int, object]]:
        """Return id, index and record of each block of a series."""
        return self.db.execute("SELECT id, idx, record FROM block WHERE series = ?", (series,)).fetchall()

    def find_block(self, series: int, index: int) -> tuple[int, object, object] | None:
        """Return id, record and appended rows of a block."""
        query = "SELECT id, record, appended FROM block WHERE series = ? AND idx = ?"
        found: tuple[int, object, object] | None = self.db.execute(query, (series, index)).fetchone()
        return found

    def put_block(self, series: int, index: int, record: bytes, appended: bytes, used_ms: int) -> int:
        """Insert a block, or replace its record and its appended rows; return its id."""
        (row_id,) = self.db.execute(
            "INSERT INTO block (series, idx, record, appended, used_ms) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET record = excluded.record, appended = excluded.appended,"
            " used_ms = excluded.used_ms RETURNING id",
            (series, index, record, appended, used_ms),
        ).fetchone()
        return int(row_id)

    def base(self, row_id: int) -> object:
        """Return a block's base; `None` if there is none."""
        row = self.db.execute("SELECT payload FROM base WHERE id = ?", (row_id,)).fetchone()
        return None if row is None else row[0]

    def put_base(self, row_id: int, payload: bytes) -> None:
        """Insert or replace a block's base."""
        self.db.execute("REPLACE INTO base (id, payload) VALUES (?, ?)", (row_id, payload))

    def touch(self, series: int, indexes: Iterable[int], used_ms: int) -> None:
        """Store when blocks were last used."""
        self.db.executemany(
            "UPDATE block SET used_ms = ? WHERE series = ? AND idx = ?", [(used_ms, series, index) for index in indexes]
        )

    def delete_blocks(self, row_ids: Iterable[int]) -> None:
        """Delete blocks with their rows."""
        for row_id in row_ids:
            self.db.execute("DELETE FROM base WHERE id = ?", (row_id,))
            self.db.execute("DELETE FROM block WHERE id = ?", (row_id,))

    def evict(self, nbytes: float) -> bool:
        """Delete the blocks used longest ago, of `nbytes` or one batch; return False if nothing was left.

        If there are no blocks, all series are deleted: what is known of those without rows.
        """
        with self.transaction():
            gone = self._least_recent(nbytes)
            self.delete_blocks(gone)
            return bool(gone or self.db.execute("DELETE FROM series RETURNING id").fetchall())

    def _least_recent(self, nbytes: float) -> list[int]:
        found: list[int] = []
        for row_id, size in self.db.execute(
            "SELECT id, (SELECT length(payload) FROM base WHERE base.id = block.id) FROM block ORDER BY used_ms, id"
            " LIMIT ?",
            (_EVICTION_BATCH,),
        ).fetchall():
            found.append(row_id)
            nbytes -= size or 0
            if nbytes <= 0:
                break
        return found

    def release_pages(self) -> None:
        """Return free pages to the file system."""
        self.db.execute("PRAGMA incremental_vacuum").fetchall()

    def used_bytes(self) -> int:
        """Return the bytes used in the file, without free pages."""
        (pages,) = self.db.execute("PRAGMA page_count").fetchone()
        (free,) = self.db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self.db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def is_consistent(self) -> bool:
        """Return whether all series and blocks can be found by their keys."""
        reports = [self.db.execute(f"PRAGMA integrity_check({table})").fetchall() for table in ("series", "block")]
        return all(report == [("ok",)] for report in reports)
