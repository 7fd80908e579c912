"""The file of settled rows: SQLite, in WAL mode, used by one thread only. Raises what SQLite raises.

    series   (origin, key) → its bare spans and voids, with a checksum
    span     a block's place: which parts of its span are known, how many rows, the checksums of all that
    base     the block's rows; written anew when rows changed or many were added, and packed when there is time
    young    the rows that were added since: a row that settles each minute does not rewrite a thousand

One change of a series is in one transaction, often with others. `synchronous` is NORMAL: after kill -9 all that was
committed is there; after a loss of power the last commits may be missing (up to the last checkpoint), never parts
of one.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesChange, SeriesFilter, SeriesOutline, StoredBlock
from mdcache.candles.ranges import Span
from mdcache.clock import Clock
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.stores.block_codec import Unreadable, decode, digest, encode
from mdcache.stores.disk.row_records import (
    RECORD_COLUMNS,
    BlockRecord,
    after,
    assembled,
    checksum_of,
    continues,
    decode_state,
    encode_state,
    is_intact,
    pack_spans,
    record_checksum,
    series_identity,
    unpack_spans,
)
from mdcache.stores.disk.schema import Connect, connect, make_ready

_SLICE_S = 0.03  # of writing in one go: who reads waits no longer, but for a series that takes longer by itself
_EVICTION_BATCH = 64  # blocks that a full disk gives up before it is looked at again
_MOST_LOOSE = 100_000  # blocks
_LOW_WATER = 0.95  # of the bound, so that not every commit has to give something up


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """What is to be written of one series; `anew`: and what is there now goes first. `touched`: were asked for."""

    key: SeriesKey
    discard_first: bool
    change: SeriesChange | None
    touched: Sequence[int]


@dataclass(frozen=True, slots=True)
class _PreparedBlock:
    """A block as it will be written; `base` is `None` where the one that is there still holds."""

    record: BlockRecord
    base: bytes | None
    appended: bytes


class RowFile:
    """The file at `path`; each market's series are kept, and found, under its `origins`.

    `faults` collects what was found broken, and was given up.
    """

    def __init__(
        self,
        path: Path,
        origins: Mapping[Market, str],
        max_bytes: int,
        clock: Clock,
        connect: Connect = connect,
    ) -> None:
        self.path = path
        self.faults: list[str] = []
        self._origins = origins
        self.max_bytes = max_bytes
        self.held_bytes = 0  # as of the last commit; may be looked at from any thread
        self._clock = clock
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._loose: dict[int, None] = {}

    # ---------------------------------------------------------------------------------- reading

    def outline(self, key: SeriesKey) -> SeriesOutline:
        """All that is known of a series but its rows; what fails its checksum is dropped."""
        found = self._find_series(key)
        if found is None:
            return SeriesOutline()
        number, state, checksum = found
        if not isinstance(state, bytes) or checksum != checksum_of(self._identity(key), state):
            self.faults.append(f"{key}: its outline fails the checksum")
            self._delete_series([number])
            return SeriesOutline()
        bare, voids = decode_state(state)
        blocks: dict[int, tuple[Span, ...]] = {}
        for index, checksum, *place in self._db.execute(
            f"SELECT idx, sum, {RECORD_COLUMNS} FROM span WHERE series = ?",
            (number,),
        ).fetchall():
            if self._is_intact(key, index, BlockRecord(*place), checksum):
                blocks[index] = unpack_spans(place[1])
            else:
                self._drop_corrupt(key, index, place[0], "its place fails the checksum")
        return SeriesOutline(bare, voids, blocks)

    def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Those of the blocks that are there and whole; the others are dropped."""
        found = self._find_series(key)
        kept: dict[int, StoredBlock] = {}
        for index in indexes if found is not None else ():
            row = self._record(found[0], index) if found is not None else None
            if row is None:
                continue
            try:
                kept[index] = self._stored_block(key, index, *row)
            except Unreadable as error:
                self._drop_corrupt(key, index, row[0].id, str(error))
        return kept

    def _stored_block(self, key: SeriesKey, index: int, place: BlockRecord, checksum: int) -> StoredBlock:
        if not self._is_intact(key, index, place, checksum):
            raise Unreadable("its place fails the checksum")
        return StoredBlock(self._read(index, place), unpack_spans(place.known))

    def _read(self, index: int, place: BlockRecord) -> Block:
        young = self._payload("young", place.id) if place.young_rows else b""
        return assembled(index, place, self._payload("base", place.id), young)

    # ---------------------------------------------------------------------------------- writing

    def write(self, works: Sequence[SeriesWrite]) -> int:
        """Write the first of `works`, as many as a slice of time allows; returns how many, and they are committed."""
        began_s, done = self._clock.now(), 0
        with self._transaction():
            for work in works:
                self._write_series(work)
                done += 1
                if self._clock.now() - began_s >= _SLICE_S:
                    break
        self._evict()
        return done

    def _write_series(self, work: SeriesWrite) -> None:
        if work.discard_first:
            self.delete_series(work.key)
        if work.change is not None:
            series = self._write_series_state(work.key, work.change)
            for index, kept in work.change.blocks.items():
                row = self._record(series, index)
                if kept is not None:
                    self._write_block(work.key, series, index, self._prepare(work.key, index, kept, row))
                elif row is not None:
                    self._delete_blocks([row[0].id])
        if work.touched:
            self._touch(work.key, work.touched)

    def _prepare(
        self, key: SeriesKey, index: int, kept: StoredBlock, row: tuple[BlockRecord, int] | None
    ) -> _PreparedBlock | None:
        """What is to be written for a block; `None` if it is there just so."""
        block, known = kept.block, pack_spans(kept.coverage)
        old = row[0] if row is not None and self._is_intact(key, index, *row) else None
        if old is None or not continues(block, old):
            whole = (len(block), len(block.text), digest(block.open_times, block.text))
            return _PreparedBlock(
                BlockRecord(0 if row is None else row[0].id, known, *whole, 0, 0), encode(block, quick=True), b""
            )
        added = after(block, old.base_rows)
        young_digest = digest(added.open_times, added.text) if len(added) else 0
        place = BlockRecord(old.id, known, old.base_rows, old.base_bytes, old.base_digest, len(added), young_digest)
        if place == old:
            return None
        return _PreparedBlock(place, None, encode(added, quick=True) if len(added) else b"")

    def _touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        found = self._find_series(key)
        if found is not None:
            asked = self._clock.wall_ms()
            self._db.executemany(
                "UPDATE span SET asked = ? WHERE series = ? AND idx = ?",
                [(asked, found[0], index) for index in indexes],
            )

    @property
    def loose(self) -> bool:
        """Whether `pack` has something to do; may be asked from any thread."""
        return bool(self._loose)

    def pack(self) -> None:
        """Write one block's rows smaller. What this process wrote is packed; what it did not get to stays as it is."""
        if not self._loose:
            return
        number, _ = self._loose.popitem()
        with suppress(Unreadable):  # gone, or broken: who asks for it will find that out
            payload = self._payload("base", number)
            packed_payload = encode(decode(0, payload))
            if len(packed_payload) < len(payload):
                with self._transaction() as db:
                    db.execute("UPDATE base SET payload = ? WHERE id = ?", (packed_payload, number))
                self.held_bytes = self._used_bytes()

    def delete_series(self, key: SeriesKey) -> None:
        """Nothing of this series rests any more."""
        found = self._find_series(key)
        if found is not None:
            with self._transaction():
                self._delete_series([found[0]])

    def purge(self, series_filter: SeriesFilter) -> int:
        """Forget the series of our origins that match; returns how many there were."""
        conditions = {
            "market": series_filter.market,
            "subject": series_filter.subject,
            "interval": series_filter.interval,
        }
        given = {name: str(value) for name, value in conditions.items() if value is not None}
        where = "".join(f" AND {name} = ?" for name in given)
        origins = sorted(set(self._origins.values()))
        marks = ", ".join("?" * len(origins))
        with self._transaction() as db:
            query = f"SELECT id FROM series WHERE origin IN ({marks}){where}"
            numbers = [number for (number,) in db.execute(query, (*origins, *given.values()))]
            self._delete_series(numbers)
        return len(numbers)

    def is_consistent(self) -> bool:
        """Whether places can still be found by what they are of: asked where something else was found broken."""
        reports = [self._db.execute(f"PRAGMA integrity_check({table})").fetchall() for table in ("series", "span")]
        return all(report == [("ok",)] for report in reports)

    def close(self) -> None:
        """Let go of the file; what was committed is in it."""
        connection, self._connection = self._connection, None
        self._loose.clear()
        if connection is not None:
            connection.close()

    def _used_bytes(self) -> int:
        """What the file holds, free pages aside."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def set_aside(self) -> None:
        """The file is broken beyond reading: begin a new one, and leave the old beside it for who wants to look."""
        self.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(self.path.with_name(self.path.name + ".broken"))

    # ------------------------------------------------------------------------------------ parts

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            opened = self._connect(self.path)
            try:
                make_ready(opened, self.path)
            except BaseException:
                opened.close()
                raise
            self._connection = opened
            self.held_bytes = self._used_bytes()
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        inside = db.in_transaction  # part of a larger one
        try:
            if not inside:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if not inside:
                db.execute("COMMIT")
        except BaseException:
            if not inside:
                _roll_back(db)
            raise

    def _find_series(self, key: SeriesKey) -> tuple[int, object, int] | None:
        found: tuple[int, object, int] | None = self._db.execute(
            "SELECT id, state, sum FROM series WHERE origin = ? AND market = ? AND kind = ? AND subject = ?"
            " AND contract_type = ? AND interval = ? AND zone_minutes = ? AND micros = ?",
            self._key_columns(key),
        ).fetchone()
        return found

    def _record(self, series: int, index: int) -> tuple[BlockRecord, int] | None:
        query = f"SELECT {RECORD_COLUMNS}, sum FROM span WHERE series = ? AND idx = ?"
        row = self._db.execute(query, (series, index)).fetchone()
        return None if row is None else (BlockRecord(*row[:-1]), row[-1])

    def _payload(self, table: str, number: int) -> bytes:
        row = self._db.execute(f"SELECT payload FROM {table} WHERE id = ?", (number,)).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise Unreadable("its rows are gone")
        return row[0]

    def _write_series_state(self, key: SeriesKey, change: SeriesChange) -> int:
        state = encode_state(change)
        (number,) = self._db.execute(
            "INSERT INTO series (origin, market, kind, subject, contract_type, interval, zone_minutes, micros,"
            " state, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state, sum = excluded.sum RETURNING id",
            (*self._key_columns(key), state, checksum_of(self._identity(key), state)),
        ).fetchone()
        return int(number)

    def _write_block(self, key: SeriesKey, series: int, index: int, block: _PreparedBlock | None) -> None:
        if block is None:
            return
        place = block.record
        columns = (*astuple(place)[1:], record_checksum(self._identity(key), index, place), self._clock.wall_ms())
        (number,) = self._db.execute(
            "INSERT INTO span (series, idx, known, base_rows, base_bytes, base_digest, young_rows, young_digest, sum,"
            " asked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET known = excluded.known,"
            " base_rows = excluded.base_rows, base_bytes = excluded.base_bytes, base_digest = excluded.base_digest,"
            " young_rows = excluded.young_rows, young_digest = excluded.young_digest, sum = excluded.sum,"
            " asked = excluded.asked RETURNING id",
            (series, index, *columns),
        ).fetchone()
        if block.base is not None:
            self._db.execute("REPLACE INTO base (id, payload) VALUES (?, ?)", (number, block.base))
            if len(self._loose) < _MOST_LOOSE:
                self._loose[number] = None
        if block.appended:
            self._db.execute("REPLACE INTO young (id, payload) VALUES (?, ?)", (number, block.appended))
        else:
            self._db.execute("DELETE FROM young WHERE id = ?", (number,))

    def _delete_blocks(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            for table in ("base", "young", "span"):
                self._db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))

    def _delete_series(self, series: Iterable[int]) -> None:
        with self._transaction() as db:
            for number in series:
                self._delete_blocks(
                    [row[0] for row in db.execute("SELECT id FROM span WHERE series = ?", (number,)).fetchall()]
                )
                db.execute("DELETE FROM series WHERE id = ?", (number,))

    def _drop_corrupt(self, key: SeriesKey, index: int, number: int, why: str) -> None:
        self.faults.append(f"{key}, block {index}: {why}")
        with suppress(sqlite3.OperationalError), self._transaction():  # else it will be found broken once more
            self._delete_blocks([number])

    def _evict(self) -> None:
        """Give up the blocks that were asked for longest ago, with what they made known, until the bound holds."""
        self.held_bytes = self._used_bytes()
        if self.held_bytes <= self.max_bytes:
            return
        while (much := self.held_bytes - self.max_bytes * _LOW_WATER) > 0:
            with self._transaction() as db:
                gone = self._least_recent(much)
                self._delete_blocks(gone)
                if not gone and not db.execute("DELETE FROM series RETURNING id").fetchall():
                    break
            self.held_bytes = self._used_bytes()
        self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def _least_recent(self, nbytes: float) -> list[int]:
        """The blocks that were asked for longest ago and take about so much, or as many as go at once."""
        found: list[int] = []
        for number, size in self._db.execute(
            "SELECT id, (SELECT length(payload) FROM base WHERE base.id = span.id) FROM span ORDER BY asked, id"
            " LIMIT ?",
            (_EVICTION_BATCH,),
        ).fetchall():
            found.append(number)
            nbytes -= size or 0
            if nbytes <= 0:
                break
        return found

    def _key_columns(self, key: SeriesKey) -> tuple[str | int, ...]:
        origin = self._origins[key.market]
        named = (key.market.value, key.kind, key.subject, key.contract_type, key.interval)
        return (origin, *named, key.zone_minutes, int(key.micros))

    def _identity(self, key: SeriesKey) -> bytes:
        return series_identity(self._key_columns(key))

    def _is_intact(self, key: SeriesKey, index: int, place: BlockRecord, checksum: int) -> bool:
        return is_intact(self._identity(key), index, place, checksum)


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # SQLite rolls back by itself where it can't go on
        db.execute("ROLLBACK")
