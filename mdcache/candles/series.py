"""A series: everything known about it, as blocks of settled rows with their coverage, and the tail.

`merge.py` applies replies, `replication.py` applies what other replicas know; `plan.py` decides what is missing.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from mdcache.candles.block import HeldBlock, SeriesBlocks
from mdcache.candles.empty_ranges import EmptyRanges
from mdcache.candles.first_trades import TradeCount
from mdcache.candles.ranges import RangeSet
from mdcache.candles.settling import SettlePolicy, Settling
from mdcache.candles.stream_tail import SilentSpan, StreamTail
from mdcache.candles.tail import Tail
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KlineEndpoint
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame

_MAX_REVISED = 256
_MAX_COUNTED = 500  # rows: 0.3 ms, and a question may count several times
_TRADES = 8  # the place of their number in a printed row
_MEAN_MONTH_MS = 2_629_746_000  # of the Gregorian calendar


class UnprovenEmpty(NamedTuple):
    """An inclusive span in which a reply showed no rows, although its window allowed for them: that proves nothing.

    `page_rows`: the rows of a reply that had fewer than its limit, 0 if it was not short; as of `as_of_ms`.
    """

    lo_ms: int
    hi_ms: int
    page_rows: int
    as_of_ms: int


class KnownRow(NamedTuple):
    """A known row. Only rows of the tail have their trade count parsed (`tail_trades`)."""

    open_ms: int
    raw: bytes
    tail_trades: int | None

    @property
    def trades(self) -> int:
        """The row's trade count."""
        return int(self.raw.split(b",")[8]) if self.tail_trades is None else self.tail_trades


class Series:
    """What is known of one series.

    `coverage`: the spans in which every row is known and in memory. `stored`: spans that are known, but whose rows are
    in a store: a block's span is either covered or stored, never both, and a stored block must be restored before a
    reply is merged there. `evicted`: spans that were known once, and have not been read again since. `from_dumps`: the
    parts of the coverage that dumps brought and no read has confirmed (docs/design.md#dumps).

    `tail` is what REST reads brought, `live_tail` what is shown. `stream`: the frames laid over it, if there are any.

    `settled_version` changes when something known changed (a revision, a filled hole, a purge) or was evicted and read
    again; `tail_version` when the live tail changed. An answer is valid while the versions it was built from are
    current.

    `outline_loaded`: the store was asked what it has. `merged_as_of_ms`: as-of of the newest reply merged.
    `revised_as_of`: by open time, oldest finds first, the as-of of the read that found a row changed.
    `unproven_empty`: where reads that count back from an end showed no rows; `unproven_end`: the same of the newest
    read that had a start alone. `page_cap`: the most rows that the exchange returns, if it is less than it should be.
    """

    __slots__ = (
        "blocks",
        "coverage",
        "empty_ranges",
        "endpoint",
        "evicted",
        "from_dumps",
        "interval",
        "key",
        "merged_as_of_ms",
        "outline_loaded",
        "page_cap",
        "policy",
        "revised_as_of",
        "settled_version",
        "settling",
        "stored",
        "stream",
        "tail",
        "tail_version",
        "unproven_empty",
        "unproven_end",
        "unsaved",
        "zone_ms",
    )

    def __init__(
        self,
        key: SeriesKey,
        endpoint: KlineEndpoint,
        policy: SettlePolicy,
        on_change: Callable[[HeldBlock | None, HeldBlock | None], None] = lambda _old, _new: None,
    ) -> None:
        self.key = key
        self.endpoint = endpoint
        self.policy = policy
        self.interval = INTERVALS[key.interval]
        self.zone_ms = key.zone_minutes * 60_000
        self.settling = Settling(policy, self.interval, self.zone_ms)
        self.blocks = SeriesBlocks(self.interval.length_ms, on_change)
        self.coverage = RangeSet()
        self.stored = RangeSet()
        self.evicted = RangeSet()
        self.from_dumps = RangeSet()
        self.empty_ranges = EmptyRanges()
        self.tail: Tail | None = None
        self.stream: StreamTail | None = None
        self.unproven_empty: list[UnprovenEmpty] = []
        self.unproven_end: UnprovenEmpty | None = None
        self.page_cap: int | None = None
        self.revised_as_of: dict[int, int] = {}
        self.merged_as_of_ms = -1
        self.outline_loaded = False
        self.unsaved = False
        self.settled_version = 0
        self.tail_version = 0

    def next_open(self, open_ms: int) -> int:
        """Return the nominal end of the bucket that opened at `open_ms`."""
        return self.settling.next_open(open_ms)

    @property
    def live_tail(self) -> Tail | None:
        """The tail with newer frames laid over it: what is shown."""
        return self.tail if self.tail is None or self.stream is None else self.stream.over(self.tail)

    @property
    def last_shown_tail(self) -> Tail | None:
        """The live tail as it was when it was last asked for: composing it waits for the next question."""
        return self.tail if self.tail is None or self.stream is None else self.stream.last_over(self.tail)

    def oldest_unsettled_ms(self) -> int | None:
        """Return the close time of the oldest closed row of the tail as it was last shown; `None` if there is none."""
        tail = self.last_shown_tail
        first = tail.rows[0] if tail is not None and tail.rows else None
        return first.close_ms if tail is not None and first is not None and first.close_ms < tail.as_of_ms else None

    @property
    def frames(self) -> int:
        """The number of frames that are kept, shown or not."""
        return 0 if self.stream is None else len(self.stream)

    @property
    def frame_rows(self) -> list[Row]:
        """Their rows."""
        return [] if self.stream is None else self.stream.frame_rows

    @property
    def tail_rows(self) -> tuple[Row, ...]:
        """The rows of the live tail."""
        tail = self.live_tail
        return () if tail is None else tail.rows

    def tail_known_at(self, event_ms: int) -> Tail | None:
        """Return the tail with the frames until `event_ms` laid over it."""
        return self.tail if self.tail is None or self.stream is None else self.stream.known_at(self.tail, event_ms)

    def replace_tail(self, tail: Tail) -> None:
        """Replace the tail by one that was read."""
        self.tail = tail
        self.tail_version += 1
        if self.stream is not None:
            self.stream.drop_replaced(tail)

    def apply_frame(self, frame: Frame, cadence_ms: int) -> bool:
        """Lay a frame of its stream over the tail.

        Args:
            frame: What was received.
            cadence_ms: How often the stream sends, in milliseconds.

        Returns:
            Whether it is news: newer than what was known of its candle, and not of a settled one.
        """
        if self.tail is not None and frame.row.open_ms < self.tail.start_ms:
            return False
        if self.stream is None:
            self.stream = StreamTail(self.settling, cadence_ms)
        elif not frame.derived:
            self.stream.cadence_ms = cadence_ms
        return self._changes_live_tail(news=self.stream.take(frame))

    def complete_until_ms(self) -> int | None:
        """Return until when the live tail surely shows every trade; silence from then on extends its as-of."""
        tail = self.tail
        if tail is None or not tail.rows:
            return None
        if self.stream is None:
            return tail.as_of_ms - tail.error_ms - self.policy.settle_ms
        return self.stream.complete_until_ms(tail)

    def last_trade(self, opened: Iterable[tuple[int, int]]) -> int:
        """Return the number of the live tail's last trade; -1 if frames do not tell it.

        Where no frame shows the same candle, it follows from the number of an earlier trade and the trades since.

        Args:
            opened: The open times and first trades of candles of the symbol, the latest one first.
        """
        rows = self.tail_rows
        told = -1 if self.tail is None or self.stream is None else self.stream.last_trade(self.tail)
        if told >= 0 or not rows:
            return told
        first = next((each for each in opened if each[0] <= rows[-1].open_ms), None)
        trades = None if first is None else self._trades_between(first[0], rows[-1].open_ms + 1, rows)
        return told if first is None or trades is None else first[1] - 1 + trades

    def note_silence(self, silence: SilentSpan) -> bool:
        """Record that nothing was traded for a while; return whether that is news."""
        if self.stream is None:
            self.stream = StreamTail(self.settling, 0)
        return self._changes_live_tail(news=self.stream.note_silence(silence))

    @property
    def doubtful(self) -> tuple[Row, ...]:
        """The closed rows that were read too soon to be surely complete; until they are, no frame is shown."""
        return () if self.live_tail is None or self.stream is None else self.stream.doubtful

    def confirm_closed(self, counts: Iterable[TradeCount]) -> bool:
        """Take the doubtful rows for complete if no trade is missing; return whether that is news.

        No row shows more trades than happened, so none is missing if there are as many in all rows as there were.
        """
        stream, tail, doubtful = self.stream, self.tail, self.doubtful
        if stream is None or tail is None or not doubtful:
            return False
        for open_ms, end_ms, trades in counts:
            covers = open_ms <= doubtful[0].open_ms and end_ms == doubtful[-1].close_ms + 1
            if covers and self._trades_between(open_ms, end_ms, tail.rows) == trades:
                stream.confirm(doubtful)
                return self._changes_live_tail(news=True)
        return False

    def _trades_between(self, open_ms: int, end_ms: int, tail_rows: Iterable[Row]) -> int | None:
        """Return how many trades the known rows show that open in a span, unless these are too many to count.

        The rows of the tail are given.
        """
        if self.interval.count(open_ms, end_ms) > _MAX_COUNTED:
            return None
        settled = self.blocks.printed_rows(open_ms, min(end_ms, self.tail.start_ms if self.tail else end_ms))
        found = sum(int(raw.split(b",")[_TRADES]) for _, raw in settled)
        return found + sum(row.trades for row in tail_rows if open_ms <= row.open_ms < end_ms)

    def _changes_live_tail(self, *, news: bool) -> bool:
        self.tail_version += news
        return news

    def newest_settled(self) -> int:
        """Return the open time of the newest settled row that the tail joins, or -1."""
        joined = None if self.tail is None else self.coverage.at(self.tail.start_ms - 1)
        found = None if joined is None else self.blocks.last_open(*joined)
        return -1 if found is None else found

    def newest_known(self, tail: Tail | None = None) -> int:
        """Return the open time of the newest row of `tail` (if not given: as read), else of the settled rows, or -1."""
        tail = tail or self.tail
        rows = tail.rows if tail is not None else ()
        return rows[-1].open_ms if rows else self.newest_settled()

    def known_between(self, lo: int, hi: int, tail: Tail | None) -> list[KnownRow]:
        """Return the rows with `lo` <= open time < `hi` that were shown as closed, and the newest row of `tail`."""
        known = [KnownRow(t, raw, None) for t, raw in self.blocks.printed_rows(lo, hi)]
        if tail is not None:
            known += [
                KnownRow(row.open_ms, row.raw, row.trades)
                for row in tail.rows
                if lo <= row.open_ms < hi and (row.close_ms < tail.as_of_ms or row is tail.rows[-1])
            ]
        return known

    def holes(self) -> int:
        """Count the covered buckets without a row, between rows."""
        found = 0
        for start, end in self.coverage:
            first, last = self.blocks.first_open(start, end), self.blocks.last_open(start, end)
            if first is None or last is None:
                continue
            length = _MEAN_MONTH_MS if self.interval.months else self.interval.length_ms
            found += max(0, round((last - first) / length) + 1 - self.blocks.count(start, end))
        return found

    def shown_empty_at(self, t: int) -> bool:
        """Return whether a backward read has shown no rows at `t`, so that another would be useless."""
        return any(each.lo_ms <= t <= each.hi_ms for each in self.unproven_empty)

    def shown_end_at(self, t: int) -> bool:
        """Return whether a forward read has just shown no rows from `t` on, so that another would be useless."""
        return self.unproven_end is not None and self.unproven_end.lo_ms == t

    def is_short(self, rows: int, limit: int) -> bool:
        """Return whether so many rows are fewer than a page with this `limit` holds, as far as is known."""
        cap = self.page_cap
        return rows < (limit if cap is None or rows > cap else min(limit, cap))  # a longer page refutes the cap

    def note_page(self, rows: int) -> None:
        """Record that the exchange returns this many rows at least."""
        if self.page_cap is not None and rows > self.page_cap:
            self.page_cap = None

    def note_capped(self, rows: int) -> None:
        """Record that a page of this many rows was short although there were more."""
        if rows:
            self.page_cap = max(rows, self.page_cap or 0)

    def has_row_at(self, open_ms: int) -> bool:
        """Return whether a row that opens at `open_ms` is known."""
        if self.blocks.first_open(open_ms, open_ms + 1) is not None:
            return True
        return self.tail is not None and any(row.open_ms == open_ms for row in self.tail.rows)

    def forget(self) -> None:
        """Forget everything (a purge). The store deletes what is stored."""
        self.blocks.drop_all()
        self.unsaved = False
        self.coverage, self.stored, self.evicted, self.from_dumps = RangeSet(), RangeSet(), RangeSet(), RangeSet()
        self.empty_ranges = EmptyRanges()
        self.tail = None
        self.stream = None
        self.unproven_empty = []
        self.unproven_end = None
        self.page_cap = None
        self.revised_as_of = {}
        self.settled_version += 1
        self.tail_version += 1

    def note_revised(self, open_times: Iterable[int], as_of_ms: int) -> None:
        """Record that a read as of `as_of_ms` found these settled rows changed, or rows in what was a hole."""
        for open_ms in open_times:
            self.revised_as_of.pop(open_ms, None)
            self.revised_as_of[open_ms] = as_of_ms
        while len(self.revised_as_of) > _MAX_REVISED:
            del self.revised_as_of[next(iter(self.revised_as_of))]

    def cover(self, start: int, end: int) -> None:
        """Record that every row in [start, end) is in memory, and was read from Binance."""
        self.coverage.add(start, end)
        self.from_dumps.remove(start, end)
        self.note_read_again(start, end)

    def note_read_again(self, start: int, end: int) -> None:
        """Record that [start, end) is known again: older answers may lack a revision of what was evicted there."""
        if start < end and self.evicted.gaps(start, end) != [(start, end)]:
            self.evicted.remove(start, end)
            self.settled_version += 1
