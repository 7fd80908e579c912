"""Windows: what one read asks Binance for, and what its reply proves (docs/design.md#windows)."""

from dataclasses import dataclass
from enum import StrEnum

from mdcache.exchange.markets import KlineEndpoint
from mdcache.exchange.rows import Row
from mdcache.exchange.weights import klines_weight


class WindowKind(StrEnum):
    """Which ends a window sets."""

    TAIL = "tail"  # neither: the newest rows
    BACKWARD = "back"  # endTime alone
    FORWARD = "forward"  # startTime alone
    RANGE = "range"  # both


@dataclass(frozen=True, slots=True)
class Window:
    """One read: rows with `start_ms` <= open time <= `end_ms`, `limit` of them at most."""

    kind: WindowKind
    start_ms: int | None
    end_ms: int | None
    limit: int

    def weight(self, endpoint: KlineEndpoint) -> int:
        """Documented weight of the call."""
        return klines_weight(endpoint, self.limit)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a reply proves: everything with `lo_ms` <= open time < `hi_ms`.

    `tail`: and everything after it, as of the read.
    """

    lo_ms: int
    hi_ms: int
    open_ended: bool


def tail_window(limit: int) -> Window:
    """The newest `limit` rows."""
    return Window(WindowKind.TAIL, None, None, limit)


def prove(window: Window, rows: list[Row], endpoint: KlineEndpoint, as_of_ms: int, confirm_ms: int) -> Proof | None:
    """What `rows`, the whole reply to `window` as of `as_of_ms`, prove; `None` if nothing.

    A proof never reaches past the newest row of the same reply, but where Binance answers a window by its
    newest rows (coinm): there a short reply to both ends proves the whole window, unless it ends so near to now
    (`confirm_ms`) that a lagging replica explains the silence.
    """
    first = rows[0].open_ms if rows else None
    past_last = rows[-1].open_ms + 1 if rows else None
    short = len(rows) < window.limit
    start, end = window.start_ms, window.end_ms
    if window.kind is WindowKind.TAIL:
        reach = 0 if endpoint.max_span_ms is None else max(0, as_of_ms - endpoint.max_span_ms)
        since = reach if first is None else first
        return Proof(since, since if past_last is None else past_last, open_ended=True)
    if window.kind is WindowKind.FORWARD and start is not None and short:
        return Proof(start, start if past_last is None else past_last, open_ended=True)
    if window.kind is WindowKind.RANGE and endpoint.nearest_end and short and start is not None and end is not None:
        if end < as_of_ms - confirm_ms:
            return Proof(start, end + 1, open_ended=False)
    elif window.kind is WindowKind.BACKWARD or (window.kind is WindowKind.RANGE and endpoint.nearest_end):
        start = first
    return None if past_last is None or start is None else Proof(start, past_last, open_ended=False)
