"""Make dump files: a zip archive with one CSV of the candles that the exchange showed when the file was published.

A month of minutes takes a second: the caller's `pause` is awaited between slices of it.
"""

import io
from asyncio import Lock
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from zipfile import ZIP_DEFLATED, ZipFile

from mdcache.sim.api.answers import Answers
from mdcache.sim.api.routes import PREFIXES
from mdcache.sim.config import SymbolSpec
from mdcache.sim.control.actions import Control, RowRevision
from mdcache.sim.control.dump_faults import DumpFault
from mdcache.sim.dumps.names import DumpName
from mdcache.sim.listings import Listings
from mdcache.sim.prices.printing import in_microseconds
from mdcache.sim.prices.series import AsOf, RowWindow

HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    b"ignore\n"
)
_HEADER_FROM_MS = int(datetime(2021, 1, 1, tzinfo=UTC).timestamp()) * 1000  # futures; files of 2020 have none
_MICROSECONDS_FROM_MS = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000  # spot: README of binance-public-data
_SLICE = 512  # rows, about 10 ms
_MOST_CACHED = 64_000_000  # bytes
_OTHER_VOLUME = RowRevision(0, Decimal("8.5"), 0)  # ACMUSDT 2021-12-14: 34.9 in the dump, 26.4 by REST


@dataclass(slots=True)
class _RowChange:
    """What a fault does to rows from `from_ms` on: `left` of them are lost, or differ."""

    lost: bool
    from_ms: int
    left: int

    def apply(self, row: bytes) -> bytes | None:
        """Return the row, another one, or nothing."""
        if not self.left or int(row[1 : row.index(b",")]) < self.from_ms:
            return row
        self.left -= 1
        return None if self.lost else _OTHER_VOLUME.apply(row)


class DumpFiles:
    """All files, made when they are asked for; the newest 64 MB are kept."""

    def __init__(self, answers: Answers, control: Control, listings: Listings) -> None:
        self._answers = answers
        self._control = control
        self._listings = listings
        self._cached: OrderedDict[object, bytes] = OrderedDict()
        self._making = Lock()  # one file at a time: two requests for the same one make it once

    async def archive(
        self, name: DumpName, faults: Iterable[DumpFault], at_ms: int, pause: Callable[[], Awaitable[object]]
    ) -> bytes | None:
        """Return a file, as it is at a moment, or nothing if it is not published or would have no candles."""
        spec = self._spec(name, at_ms)
        if spec is None or at_ms < name.published_ms:
            return None
        wrong = tuple(
            fault for fault in faults if fault.kind in {"header", "no_header", "milliseconds", "row", "lost_rows"}
        )
        revised = tuple(self._control.revisions(_path(name), name.symbol, name.interval).items())
        key = name, spec, wrong, revised
        async with self._making:
            made = self._cached.get(key)
            if made is None:
                made = self._cached[key] = await self._made(name, spec, wrong, pause)
                while sum(map(len, self._cached.values())) > _MOST_CACHED and len(self._cached) > 1:
                    self._cached.popitem(last=False)
            self._cached.move_to_end(key)
        return made or None

    def _spec(self, name: DumpName, at_ms: int) -> SymbolSpec | None:
        """Return the symbol, or for an index the first contract of the pair, as REST takes it."""
        by_pair = name.kind == "indexPriceKlines"
        known = self._listings.known(name.market, at_ms)
        same = [spec for spec in known if (spec.pair if by_pair else spec.symbol) == name.symbol]
        return min(same, key=lambda spec: spec.listed_ms, default=None)

    async def _made(
        self, name: DumpName, spec: SymbolSpec, wrong: tuple[DumpFault, ...], pause: Callable[[], Awaitable[object]]
    ) -> bytes:
        """Return the archive, empty if there are no candles."""
        kinds = {fault.kind for fault in wrong}
        changes = [change for fault in wrong if (change := _change(fault, name)) is not None]
        micros = name.market == "spot" and name.start_ms >= _MICROSECONDS_FROM_MS and "milliseconds" not in kinds
        headed = name.market != "spot" and name.start_ms >= _HEADER_FROM_MS
        file, found = io.BytesIO(), False
        with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=1) as archive, archive.open(f"{name.stem}.csv", "w") as csv:
            if (headed or "header" in kinds) and "no_header" not in kinds:
                csv.write(HEADER)
            for rows in self._slices(name, spec):
                found = True
                kept = _changed(rows, changes) if changes else rows
                if micros:
                    kept = [in_microseconds(row) for row in kept]
                if kept:
                    csv.write(b",".join(kept)[1:-1].replace(b"],[", b"\n").replace(b'"', b"") + b"\n")
                await pause()
        return file.getvalue() if found else b""

    def _slices(self, name: DumpName, spec: SymbolSpec) -> Iterator[list[bytes]]:
        """Return the rows as they were when the file was published, some at a time."""
        start_ms, as_of = name.start_ms, AsOf(name.published_ms)
        while True:
            window = RowWindow(start_ms, name.end_ms - 1, _SLICE, newest=False)
            rows = self._answers.printed(_path(name), name.symbol, name.interval, spec, window, as_of)
            if rows:
                yield rows
            if len(rows) < _SLICE:
                return
            start_ms = int(rows[-1][1 : rows[-1].index(b",")]) + 1


def _path(name: DumpName) -> str:
    """Return the path on which REST shows the same candles."""
    return PREFIXES[name.market] + name.kind


def _change(fault: DumpFault, name: DumpName) -> _RowChange | None:
    """Return what a fault does to the rows of a file, if anything."""
    open_ms = (name.start_ms + name.end_ms) // 2 if fault.open_ms is None else fault.open_ms
    if fault.kind not in {"row", "lost_rows"} or not name.start_ms <= open_ms < name.end_ms:
        return None
    lost = fault.kind == "lost_rows"
    return _RowChange(lost, open_ms, fault.rows if lost else 1)


def _changed(rows: list[bytes], changes: Iterable[_RowChange]) -> list[bytes]:
    """Return the rows after all changes."""
    for change in changes:
        rows = [other for row in rows if (other := change.apply(row)) is not None]
    return rows
