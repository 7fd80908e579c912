"""The row file: settled rows in SQLite, in WAL mode, used by one thread only. Raises what SQLite raises.

A change of a series is one transaction, or part of one. `synchronous` is NORMAL: after kill -9 all commits are there;
after a power loss the last commits (since the last checkpoint) may be missing, but never parts of one.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mdcache.background_work import give_way
from mdcache.candles.persistence import SeriesChange, SeriesFilter, SeriesOutline, StoredBlock
from mdcache.candles.ranges import Span
from mdcache.clock import Clock
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.stores.block_parts import (
    BlockRecord,
    assemble,
    decode_outside,
    decode_record,
    encode_outside,
    encode_record,
    split,
)
from mdcache.stores.compression import Unreadable
from mdcache.stores.disk.schema import Connect, Outdated, connect, make_ready
from mdcache.stores.disk.state_dir import make_folder
from mdcache.stores.disk.tables import KeyColumns, Tables

_SLICE_S = 0.03  # of writing at a time: a reader waits no longer than this, or than one series takes
_LOW_WATER = 0.95  # of the bound, so that not every commit has to evict


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """The changes to write of one series.

    `discard_first`: delete what is stored first. `touched`: blocks that were used.
    """

    key: SeriesKey
    discard_first: bool
    change: SeriesChange | None
    touched: Sequence[int]


def series_identity(key: KeyColumns) -> bytes:
    """Return a series' columns, from `origin` to `micros`, as its checksums cover them."""
    return msgspec.json.encode(key)


class RowFile:
    """The row file.

    Args:
        path: where the file is, or will be.
        origins: each market's upstream, under which its series are stored and found.
        max_bytes: above this, the blocks used longest ago are evicted.
        clock: measures the time that writing takes.
        connect: opens SQLite; tests replace it.

    Attributes:
        faults: what was found broken and dropped; the caller empties the list.
        held_bytes: as of the last commit; may be read from any thread.
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
        self.held_bytes = 0
        self._clock = clock
        self._connect = connect
        self._opened: Tables | None = None

    # ---------------------------------------------------------------------------------- reading

    def outline(self, key: SeriesKey) -> SeriesOutline:
        """Return what is stored of a series, without rows; what fails its checksum is dropped."""
        found = self._tables.find_series(self._columns(key))
        if found is None:
            return SeriesOutline()
        series, state = found
        try:
            coverage, empty_ranges = decode_outside(self._identity(key), state)
        except Unreadable as error:
            self.faults.append(f"{key}, its outline: {error}")
            self._tables.delete_series([series])
            return SeriesOutline()
        blocks: dict[int, tuple[Span, ...]] = {}
        for row_id, index, raw in self._tables.blocks_of(series):
            try:
                blocks[index] = decode_record(self._identity(key), index, raw).coverage
            except Unreadable as error:
                self._drop_corrupt(key, index, row_id, f"its record: {error}")
        return SeriesOutline(coverage, empty_ranges, blocks)

    def block_indexes(self) -> dict[SeriesKey, list[int]]:
        """Return the indexes of the blocks stored of each series of our origins."""
        found: dict[SeriesKey, list[int]] = {}
        for (
            origin,
            market,
            kind,
            subject,
            contract_type,
            interval,
            zone_minutes,
            micros,
        ), indexes in self._tables.block_indexes():
            names = Market(str(market)), str(kind), str(subject), str(contract_type), str(interval)
            if self._origins[names[0]] == origin:
                found[SeriesKey(*names, int(zone_minutes), bool(micros))] = indexes
        return found

    def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Return those of the blocks that are stored and intact; the others are dropped."""
        series = self._tables.find_series(self._columns(key))
        stored: dict[int, StoredBlock] = {}
        for index in indexes if series is not None else ():
            row = self._tables.find_block(series[0], index) if series is not None else None
            if row is None:
                continue
            try:
                stored[index] = self._stored_block(key, index, *row)
            except Unreadable as error:
                self._drop_corrupt(key, index, row[0], str(error))
        return stored

    def _stored_block(self, key: SeriesKey, index: int, row_id: int, raw: object, appended: object) -> StoredBlock:
        record = decode_record(self._identity(key), index, raw)
        return StoredBlock(
            assemble(index, record, self._tables.base(row_id), appended), record.coverage, record.from_dumps
        )

    # ---------------------------------------------------------------------------------- writing

    def write(self, works: Sequence[SeriesWrite]) -> int:
        """Write and commit as many of the first `works` as the time slice allows; return how many."""
        if self._opened is not None and not self.path.exists():  # all that is written there ends with this process
            self.close()
            self.faults.append(f"{self.path} was removed: begun anew")
        began_s, done = self._clock.now(), 0
        with self._tables.transaction():
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
            state = encode_outside(self._identity(work.key), work.change.outside_blocks, work.change.empty_ranges)
            series = self._tables.put_series(self._columns(work.key), state)
            for index, stored in work.change.blocks.items():
                self._write_block(work.key, series, index, stored)
        if work.touched and (found := self._tables.find_series(self._columns(work.key))) is not None:
            self._tables.touch(found[0], work.touched, self._clock.wall_ms())

    def _write_block(self, key: SeriesKey, series: int, index: int, stored: StoredBlock | None) -> None:
        row = self._tables.find_block(series, index)
        if stored is None:
            self._tables.delete_blocks([row[0]] if row is not None else [])
            return
        before = None if row is None else self._record_if_intact(key, index, row[1])
        parts = split(stored, {}, before)
        if parts is None:
            return
        record = encode_record(self._identity(key), index, parts.record)
        row_id = self._tables.put_block(series, index, record, parts.appended, self._clock.wall_ms())
        if parts.base is not None:
            self._tables.put_base(row_id, parts.base)
            give_way()

    def _record_if_intact(self, key: SeriesKey, index: int, raw: object) -> BlockRecord | None:
        try:
            return decode_record(self._identity(key), index, raw)
        except Unreadable:
            return None

    def delete_series(self, key: SeriesKey) -> None:
        """Delete all that is stored of this series."""
        found = self._tables.find_series(self._columns(key))
        if found is not None:
            self._tables.delete_series([found[0]])

    def purge(self, series_filter: SeriesFilter) -> int:
        """Delete the series of our origins that match; return how many there were."""
        conditions = {
            "market": series_filter.market,
            "subject": series_filter.subject,
            "interval": series_filter.interval,
        }
        given = {name: str(value) for name, value in conditions.items() if value is not None}
        with self._tables.transaction():
            series = self._tables.matching_series(sorted(set(self._origins.values())), given)
            self._tables.delete_series(series)
        return len(series)

    def _drop_corrupt(self, key: SeriesKey, index: int, row_id: int, why: str) -> None:
        self.faults.append(f"{key}, block {index}: {why}")
        with suppress(sqlite3.OperationalError), self._tables.transaction():  # otherwise it would be found broken again
            self._tables.delete_blocks([row_id])

    def _evict(self) -> None:
        """Evict the blocks used longest ago, and their coverage, until the bound holds."""
        self.held_bytes = self._tables.used_bytes()
        if self.held_bytes <= self.max_bytes:
            return
        while (excess := self.held_bytes - self.max_bytes * _LOW_WATER) > 0 and self._tables.evict(excess):
            self.held_bytes = self._tables.used_bytes()
        self._tables.release_pages()

    # ---------------------------------------------------------------------------------- the file

    def is_consistent(self) -> bool:
        """Return whether everything stored can still be found by its keys; checked after another fault was found."""
        return self._tables.is_consistent()

    def close(self) -> None:
        """Close the file; all commits are kept."""
        tables, self._opened = self._opened, None
        if tables is not None:
            tables.db.close()

    def set_aside(self, suffix: str = ".broken") -> None:
        """Rename the file, so that people can examine it, and start a new one."""
        self.close()
        for log in ("-wal", "-shm"):
            self.path.with_name(self.path.name + log).unlink(missing_ok=True)
        self.path.replace(self.path.with_name(self.path.name + suffix))

    @property
    def _tables(self) -> Tables:
        if self._opened is None:
            try:
                self._opened = Tables(self._open())
            except Outdated as error:
                self.set_aside(".old")
                self.faults.append(f"{error}: set aside as {self.path.name}.old, and its rows are read anew")
                self._opened = Tables(self._open())
            self.held_bytes = self._opened.used_bytes()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        make_folder(self.path.parent)
        db = self._connect(self.path)
        try:
            make_ready(db, self.path)
        except BaseException:
            db.close()
            raise
        return db

    def _columns(self, key: SeriesKey) -> KeyColumns:
        origin = self._origins[key.market]
        named = (key.market.value, key.kind, key.subject, key.contract_type, key.interval)
        return (origin, *named, key.zone_minutes, int(key.micros))

    def _identity(self, key: SeriesKey) -> bytes:
        return series_identity(self._columns(key))
