"""Inspect the row file for `mdcache inspect`, without a lock and without writing a byte.

A log beside the file means that a daemon is running, or was killed: then the log is read, too, by SQLite's rules (a
later commit is seen or not, never half of it). Without a log the file is read as it is, and once more if a daemon
started meanwhile. A block is read by one statement, so that its parts always match.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.exchange.intervals import INTERVALS
from mdcache.stores.block_parts import BlockRecord, assemble, decode_outside, decode_record
from mdcache.stores.compression import Unreadable
from mdcache.stores.disk.row_file import series_identity
from mdcache.stores.disk.schema import Damaged, NewerVersion, Outdated, version_of

ROW_FILE_NAME = "candles.db"
_OFF_GRID = {"3d", "1w", "1M"}  # buckets of these do not open on multiples of their length
_MAX_FAULTS = 20  # faults named for one series; all are counted
_MINUTE_MS = 60_000
_COLUMNS = "origin, market, kind, subject, contract_type, interval, zone_minutes, micros"
_BLOCKS = """
    SELECT id, idx, record, ifnull(length(base.payload), 0) + length(appended)
    FROM block LEFT JOIN base USING (id) WHERE series = ?
"""
_BLOCK = """
    SELECT idx, record, CAST(base.payload AS BLOB), CAST(appended AS BLOB)
    FROM block LEFT JOIN base USING (id) WHERE id = ?
"""


class InspectionFailed(OSError):
    """There is no file, or it can't be read."""


@dataclass(frozen=True, slots=True)
class SeriesInspection:
    """One stored series. `nbytes`: of its rows, encoded. `holes`: buckets without a row among known rows.

    `voids`: ranges without rows that may still fill. `failed`: checksums, some of them named in `faults`.
    """

    origin: str
    market: str
    kind: str
    subject: str
    contract_type: str
    interval: str
    zone_minutes: int
    micros: bool
    blocks: int
    rows: int
    nbytes: int
    holes: int
    voids: int
    failed: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileInspection:
    """The whole file: its bytes and its log's, and its series, largest first. `verified`: every block was decoded."""

    path: Path
    version: int
    file_bytes: int
    log_bytes: int
    verified: bool
    series: tuple[SeriesInspection, ...]

    @property
    def failed(self) -> int:
        """Checksums that fail."""
        return sum(each.failed for each in self.series)


def inspect_rows(
    folder: Path, *, verify: bool, on_progress: Callable[[int, int], None] = lambda _done, _all: None
) -> FileInspection:
    """Inspect what is stored in `folder`.

    Args:
        folder: a daemon's state directory; its daemon may be running.
        verify: decode and check every block.
        on_progress: called with the number of series done, and of all.

    Raises:
        InspectionFailed: there is no file, or none that this release can read.
    """
    path = folder / ROW_FILE_NAME
    log = path.with_name(path.name + "-wal")
    if not path.is_file():
        raise InspectionFailed(f"nothing is stored in {folder}: there is no {ROW_FILE_NAME}")
    try:
        while True:
            lone = not log.exists()
            with closing(_opened(path, lone=lone)) as db:
                version = version_of(db, path)
                series = tuple(_inspect_all(db, verify=verify, watch=on_progress)) if version else ()
            if not (lone and log.exists()):  # otherwise a daemon started, and the parts read may not match
                break
    except (NewerVersion, Outdated, Damaged) as error:
        raise InspectionFailed(str(error)) from None
    except sqlite3.Error as error:
        raise InspectionFailed(f"{path} can't be read: {error}") from None
    largest_first = tuple(sorted(series, key=lambda each: (-each.nbytes, each.subject, each.interval)))
    log_bytes = log.stat().st_size if log.exists() else 0
    return FileInspection(path, version, path.stat().st_size, log_bytes, verify, largest_first)


def _opened(path: Path, *, lone: bool) -> sqlite3.Connection:
    """A connection that can't write: sqlite.org/uri.html, and sqlite.org/wal.html#readonly for the shared memory."""
    how = "immutable=1" if lone else "readonly_shm=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&{how}", uri=True, isolation_level=None)


def _inspect_all(
    db: sqlite3.Connection, *, verify: bool, watch: Callable[[int, int], None]
) -> Iterator[SeriesInspection]:
    found = db.execute(f"SELECT id, state, {_COLUMNS} FROM series").fetchall()
    for done, (number, state, *columns) in enumerate(found):
        watch(done, len(found))
        yield _inspect_series(db, number, state, tuple(columns), verify=verify)
    watch(len(found), len(found))


def _inspect_series(
    db: sqlite3.Connection, number: int, state: object, columns: tuple[str | int, ...], *, verify: bool
) -> SeriesInspection:
    identity = series_identity(columns)
    faults: list[str] = []
    empty_ranges: tuple[EmptyRange, ...] = ()
    try:
        _, empty_ranges = decode_outside(identity, state)
    except Unreadable as error:
        faults.append(f"its outline: {error}")
    blocks = rows = nbytes = holes = 0
    for row_id, index, raw, size in db.execute(_BLOCKS, (number,)).fetchall():
        blocks += 1
        nbytes += size
        try:
            record = decode_record(identity, index, raw)
        except Unreadable as error:
            faults.append(f"block {index}: its record: {error}")
            continue
        rows += record.rows
        holes += _missing_buckets(record, empty_ranges, str(columns[5]), int(columns[6]))
        fault = _verify_block(db, identity, row_id) if verify else None
        if fault is not None:
            faults.append(f"block {index}: {fault}")
    named = dict(zip(_COLUMNS.split(", "), columns, strict=True)) | {"micros": bool(columns[7])}
    return SeriesInspection(
        **named,  # type: ignore[arg-type] # each column has the type of the field of its name
        blocks=blocks,
        rows=rows,
        nbytes=nbytes,
        holes=holes,
        voids=len(empty_ranges),
        failed=len(faults),
        faults=tuple(faults[:_MAX_FAULTS]),
    )


def _verify_block(db: sqlite3.Connection, identity: bytes, row_id: int) -> str | None:
    """Return what is wrong with a block as it is now; nothing if it is gone, which is no fault."""
    row = db.execute(_BLOCK, (row_id,)).fetchone()
    if row is None:
        return None
    index, raw, base, appended = row
    try:
        record = decode_record(identity, index, raw)
    except Unreadable:
        return None  # another series has it now: the id was free, and was used again
    try:
        assemble(index, record, base, appended)
    except Unreadable as error:
        return str(error)
    return None


def _missing_buckets(
    record: BlockRecord, empty_ranges: tuple[EmptyRange, ...], interval: str, zone_minutes: int
) -> int:
    """Return how many known buckets of a block have no row, except in empty ranges that are no holes."""
    rule = INTERVALS.get(interval)
    if rule is None:
        return 0
    length, shift = rule.length_ms, zone_minutes * _MINUTE_MS

    def buckets(start_ms: int, end_ms: int) -> int:
        if interval in _OFF_GRID:
            return max(0, end_ms - start_ms) // length
        return max(0, (end_ms - 1 + shift) // length - (start_ms - 1 + shift) // length)

    found = -record.rows
    for start, end in record.coverage:
        found += buckets(start, end)
        found -= sum(buckets(max(start, v.start_ms), min(end, v.end_ms)) for v in empty_ranges if not v.hole)
    return max(0, found)
