"""Serve recorded spot rows in place of computed ones, from DIR/SYMBOL/INTERVAL/START.json, one JSON array each.

Rows are the bytes of the file, without surrounding spaces.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.grid import SPOT_INTERVALS
from mdcache.sim.prices.series import RowWindow


@dataclass(frozen=True, slots=True)
class RecordedSeries:
    """Rows by rising open time."""

    opens_ms: tuple[int, ...]
    printed: tuple[bytes, ...]

    def rows(self, window: RowWindow, at_ms: int) -> list[bytes]:
        """Return the rows of the window that had opened by `at_ms`."""
        end_ms = at_ms if window.end_ms is None else min(window.end_ms, at_ms)
        first = 0 if window.start_ms is None else bisect_left(self.opens_ms, window.start_ms)
        last = max(first, bisect_right(self.opens_ms, end_ms))
        if window.newest:
            first = max(first, last - window.limit)
        else:
            last = min(last, first + window.limit)
        return list(self.printed[first:last])


def load(folder: Path) -> dict[tuple[str, str], RecordedSeries]:
    """Read all series of a folder by (symbol, interval); of duplicate rows, the later file's is used."""
    found: dict[tuple[str, str], RecordedSeries] = {}
    for place in sorted(folder.glob("*/*")):
        files = sorted(place.glob("*.json"))
        if place.name not in SPOT_INTERVALS or not files:
            continue
        rows = {int(row[0]): row for file in files for row in json.loads(file.read_bytes())}
        opens = tuple(sorted(rows))
        printed = tuple(json.dumps(rows[open_ms], separators=(",", ":")).encode() for open_ms in opens)
        found[place.parent.name, place.name] = RecordedSeries(opens, printed)
    return found


def with_recorded(
    symbols: Iterable[SymbolSpec], recorded: Iterable[tuple[tuple[str, str], RecordedSeries]]
) -> tuple[SymbolSpec, ...]:
    """Return the symbols, with those that have recordings listed and trading since their first row."""
    first: dict[str, int] = {}
    for (name, _), series in recorded:
        if series.opens_ms:
            first[name] = min(first.get(name, series.opens_ms[0]), series.opens_ms[0])
    specs = [_recorded_spec(spec, first) for spec in symbols]
    known = {spec.symbol for spec in specs if spec.market == "spot"}
    return (*specs, *(SymbolSpec("spot", name, at_ms) for name, at_ms in first.items() if name not in known))


def _recorded_spec(spec: SymbolSpec, first: Mapping[str, int]) -> SymbolSpec:
    if spec.market != "spot" or spec.symbol not in first:
        return spec
    known_ms = min(spec.listed_ms, first[spec.symbol])
    return replace(spec, status="TRADING", halted_ms=None, delisted_ms=None, announced_ms=known_ms)
