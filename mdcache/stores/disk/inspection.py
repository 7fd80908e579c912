"""What rests in the file of settled rows, looked at without a lock and without writing a byte.

Where the file has a log beside it a daemon works there, or was killed: the log is read too, by its own rules (what
is committed later is seen or not, never half of it). Without one the file is read as it lies, and once more if a
daemon came meanwhile. A block is one statement, so that none is missed by half between two.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.exchange.intervals import INTERVALS
from mdcache.stores.block_codec import Unreadable
from mdcache.stores.disk.row_records import (
    RECORD_COLUMNS,
    BlockRecord,
    assembled,
    checksum_of,
    decode_state,
    is_intact,
    series_identity,
    unpack_spans,
)
from mdcache.stores.disk.schema import Damaged, NewerVersion, version_of

ROW_FILE_NAME = "candles.db"
_OFF_GRID = {"3d", "1w", "1M"}  # their buckets do not open on multiples of their length
_MAX_FAULTS = 20  # told in words, of one series; all are counted
_MINUTE_MS = 60_000
_COLUMNS = "origin, market, kind, subject, contract_type, interval, zone_minutes, micros"
_BLOCKS = f"""
    SELECT idx, sum, {RECORD_COLUMNS}, ifnull(length(base.payload), 0) + ifnull(length(young.payload), 0)
    FROM span LEFT JOIN base USING (id) LEFT JOIN young USING (id) WHERE series = ?
"""
_BLOCK = f"""
    SELECT idx, sum, {RECORD_COLUMNS}, CAST(base.payload AS BLOB), CAST(young.payload AS BLOB)
    FROM span LEFT JOIN base USING (id) LEFT JOIN young USING (id) WHERE id = ?
"""


class InspectionFailed(OSError):
    """There is nothing to look at, or it can't be read."""


@dataclass(frozen=True, slots=True)
class SeriesInspection:
    """One series at rest. `nbytes`: of its rows, encoded. `holes`: buckets without a row among known rows.

    `voids`: spans of emptiness that may still fill. `failed`: checksums, some of them told in `faults`.
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
    """What rests in the `folder`; with `verify` every block is decoded and checked.

    `watch` is told how many series are done, of how many. Raises `InspectionFailed` where there is no file, or none
    that this
    release can read.
    """
    path = folder / ROW_FILE_NAME
    log = path.with_name(path.name + "-wal")
    if not path.is_file():
        raise InspectionFailed(f"nothing rests in {folder}: there is no {ROW_FILE_NAME}")
    try:
        while True:
            lone = not log.exists()
            with closing(_opened(path, lone=lone)) as db:
                version = version_of(db, path)
                series = tuple(_inspect_all(db, verify=verify, watch=on_progress)) if version else ()
            if not (lone and log.exists()):  # else a daemon came, and what was read may be of two moments
                break
    except (NewerVersion, Damaged) as error:
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
    found = db.execute(f"SELECT id, state, sum, {_COLUMNS} FROM series").fetchall()
    for done, (number, state, checksum, *columns) in enumerate(found):
        watch(done, len(found))
        yield _inspect_series(db, number, state, checksum, tuple(columns), verify=verify)
    watch(len(found), len(found))


def _inspect_series(
    db: sqlite3.Connection,
    number: int,
    state: object,
    checksum: object,
    columns: tuple[str | int, ...],
    *,
    verify: bool,
) -> SeriesInspection:
    who = series_identity(columns)
    faults: list[str] = []
    voids: tuple[EmptyRange, ...] = ()
    if isinstance(state, bytes) and checksum == checksum_of(who, state):
        _, voids = decode_state(state)
    else:
        faults.append("its outline fails the checksum")
    blocks = rows = nbytes = holes = 0
    for index, place_sum, *fields, size in db.execute(_BLOCKS, (number,)).fetchall():
        place = BlockRecord(*fields)
        blocks += 1
        nbytes += size
        fault = None if is_intact(who, index, place, place_sum) else "its place fails the checksum"
        if fault is None:
            here = place.base_rows + place.young_rows
            rows += here
            holes += _missing_buckets(place, here, voids, str(columns[5]), int(columns[6]))
            fault = _verify_block(db, who, place.id) if verify else None
        if fault is not None:
            faults.append(f"block {index}: {fault}")
    named = dict(zip(_COLUMNS.split(", "), columns, strict=True)) | {"micros": bool(columns[7])}
    return SeriesInspection(
        **named,  # type: ignore[arg-type]
        blocks=blocks,
        rows=rows,
        nbytes=nbytes,
        holes=holes,
        voids=len(voids),
        failed=len(faults),
        faults=tuple(faults[:_MAX_FAULTS]),
    )


def _verify_block(db: sqlite3.Connection, who: bytes, number: int) -> str | None:
    """What is wrong with a block as it lies there now; nothing if it is gone, for that is no fault."""
    row = db.execute(_BLOCK, (number,)).fetchone()
    if row is None:
        return None
    index, checksum, *fields, base, young = row
    place = BlockRecord(*fields)
    if not is_intact(who, index, place, checksum):
        return None  # another series' now: its number was free, and was given again
    if not isinstance(base, bytes) or (place.young_rows and not isinstance(young, bytes)):
        return "its rows are gone"
    try:
        assembled(index, place, base, young or b"")
    except Unreadable as error:
        return str(error)
    return None


def _missing_buckets(
    place: BlockRecord, rows: int, voids: tuple[EmptyRange, ...], interval: str, zone_minutes: int
) -> int:
    """Buckets of what a block knows that have no row, but for emptiness outside of all rows."""
    rule = INTERVALS.get(interval)
    if rule is None:
        return 0
    length, shift = rule.length_ms, zone_minutes * _MINUTE_MS

    def buckets(start_ms: int, end_ms: int) -> int:
        if interval in _OFF_GRID:
            return max(0, end_ms - start_ms) // length
        return max(0, (end_ms - 1 + shift) // length - (start_ms - 1 + shift) // length)

    found = -rows
    for start, end in unpack_spans(place.known):
        found += buckets(start, end)
        found -= sum(buckets(max(start, v.start_ms), min(end, v.end_ms)) for v in voids if not v.hole)
    return max(0, found)
