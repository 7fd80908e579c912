"""No settled row is asked twice: reads of a process are compared with what earlier ones had brought it."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import parse_qsl

from mdcache.sim import Exchange
from tests.system.lives import Life
from tests.system.network import Trip

CONFIRM_MS = 60_000
_LONGER = 2  # rows; one alone is a witness: is it still there?


@dataclass
class RepeatChecks:
    """`spoilt`: the requests that were answered with a fault, and when the last time."""

    exchange: Exchange
    spoilt: dict[str, int]
    _settled: dict[tuple[Life, str, str], set[int]] = field(default_factory=lambda: defaultdict(set))

    def forget(self) -> None:
        """Whatever was known may have been dropped: by a purge, or to make room."""
        self._settled.clear()

    def take(self, trips: list[Trip]) -> None:
        """Check the reads that were answered."""
        for trip in sorted(trips, key=lambda each: each.received_ms or 0):
            if trip.status == 200 and trip.path.lower().endswith("klines") and trip.reached_ms is not None:
                self._take(trip)

    def _take(self, trip: Trip) -> None:
        assert trip.reached_ms is not None
        if self.spoilt.get(f"{trip.path}?{trip.query}", 0) >= trip.sent_ms:
            return
        rows = json.loads(self.exchange.truth(trip.path, trip.query, {}, at_ms=trip.reached_ms))
        if not isinstance(rows, list):
            return
        sent = dict(parse_qsl(trip.query))
        series = "&".join(f"{name}={value}" for name, value in sorted(sent.items()) if name not in _WINDOW)
        known = self._settled[trip.life, trip.path, series]
        opens = {row[0] for row in rows if row[6] + CONFIRM_MS <= trip.sent_ms}
        again = len(rows) >= _LONGER and opens <= known and len(opens) == len(rows) and _is_whole(sent, rows)
        assert not again, ("settled rows are asked again", len(rows), trip)
        known |= opens


def _is_whole(sent: dict[str, str], rows: list[list[int]]) -> bool:
    """Return whether a window has rows everywhere: otherwise it is read to see whether there is none in its gaps."""
    start, end = (int(sent[name]) if name in sent else None for name in ("startTime", "endTime"))
    if start is None and end is None:
        return False  # the newest rows
    if start is not None and rows[0][0] > start + rows[0][6] - rows[0][0]:
        return False
    if end is not None and rows[-1][6] + 1 <= end:
        return False
    return all(before[6] + 1 == after[0] for before, after in pairwise(rows))


_WINDOW = {"startTime", "endTime", "limit"}
