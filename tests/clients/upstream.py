"""What reached the simulated exchange, by its own log."""

from collections import Counter
from dataclasses import dataclass
from urllib.parse import parse_qs

import httpx

_TAIL_ROWS = 100  # the least page there is in price: a tail read brings no more
_MINUTE_MS = 60_000
_SORTS = {"exchangeInfo": "listings", "time": "clock", "ping": "clock"}


@dataclass(frozen=True, slots=True)
class Read:
    """One request as the exchange saw it."""

    at_ms: int
    path: str
    query: str
    status: int

    @property
    def sort(self) -> str:
        """`candles` that may have settled, a `tail`, `listings`, the `clock`, or else `live` data."""
        last = self.path.rsplit("/", 1)[-1]
        if last.lower().endswith("klines"):
            return "tail" if self._newest() else "candles"
        return _SORTS.get(last, "live")

    def _newest(self) -> bool:
        """The newest few rows, with no start: how a tail is read."""
        asked = {name: int(values[0]) for name, values in parse_qs(self.query).items() if values[0].isdecimal()}
        to_now = asked.get("endTime", self.at_ms) >= self.at_ms - _MINUTE_MS
        return to_now and "startTime" not in asked and asked.get("limit", 500) <= _TAIL_ROWS


def log(sim: str) -> list[Read]:
    """Everything that reached it so far."""
    entries = httpx.get(f"{sim}/_sim/log?limit=100000", trust_env=False, timeout=30.0).json()
    return [Read(one["at_ms"], one["path"], one["query"], one["status"]) for one in entries]


def paths(reads: list[Read]) -> dict[str, int]:
    """How often each path was asked."""
    return dict(sorted(Counter(read.path for read in reads).items()))


def sorts(reads: list[Read]) -> dict[str, int]:
    """How many reads of each sort there were."""
    return dict(sorted(Counter(read.sort for read in reads).items()))


def read_again(reads: list[Read]) -> list[str]:
    """What should have been known by now: settled candles and lists of symbols."""
    return [f"{read.path}?{read.query}" for read in reads if read.sort in {"candles", "listings"}]
