"""The live tail: the tail that a REST read brought, with the newer frames of a stream laid over it. Pure.

A frame shows its candle as a whole, so lost frames, late ones and reconnects need no bookkeeping of their own: what the
frames can't prove is not shown, and the tail is as old as its newest proof (docs/design.md#stream-fed).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mdcache.candles.settling import Settling
from mdcache.candles.tail import Tail
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame

_MAX_BUCKETS = 256  # closed candles that wait to be settled; beyond it the oldest are forgotten, and read


@dataclass(frozen=True, slots=True)
class SilentSpan:
    """No trade happened after `since_ms` until `until_ms` (event times), while `row` was the newest one, as printed."""

    since_ms: int
    until_ms: int
    row: bytes


class StreamTail:
    """The newest frame of each bucket of one series, and the tail that they make of the one that was read.

    `cadence_ms`: how often frames come. `doubtful`: the closed candles that may be unfinished: no frame is shown.
    """

    __slots__ = (
        "_confirmed",
        "_frames",
        "_read",
        "_settling",
        "_shown",
        "_silence",
        "_stale",
        "cadence_ms",
        "doubtful",
    )

    def __init__(self, settling: Settling, cadence_ms: int) -> None:
        self.cadence_ms = cadence_ms
        self._settling = settling
        self._frames: dict[int, Frame] = {}
        self._silence = SilentSpan(0, 0, b"")
        self._confirmed: dict[int, bytes] = {}  # by open time, closed rows that are proven complete
        self._read: Tail | None = None  # the tail from which `_shown` was made
        self._shown: Tail | None = None
        self._stale = False  # whether something came since
        self.doubtful: tuple[Row, ...] = ()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def frame_rows(self) -> list[Row]:
        """The rows of the frames that are kept."""
        return [frame.row for frame in self._frames.values()]

    def take(self, frame: Frame) -> bool:
        """Keep a frame; return False if it proves nothing new: it is no newer than what is known of its candle."""
        known = self._frames.get(frame.row.open_ms)
        if known is not None:
            if frame.event_ms <= known.event_ms or frame.row.trades < known.row.trades:
                return False
            if known.final and not frame.final:
                return False
        self._frames[frame.row.open_ms] = frame
        self._stale = True
        if len(self._frames) > _MAX_BUCKETS:
            del self._frames[min(self._frames)]
        return True

    def note_silence(self, silence: SilentSpan) -> bool:
        """Record that nothing was traded for a while; return whether that is news."""
        before = self._silence
        if silence.until_ms <= before.until_ms:
            return False
        if silence.row == before.row and before.since_ms <= silence.since_ms <= before.until_ms:
            silence = replace(silence, since_ms=before.since_ms)  # one goes on where the other ended
        self._silence = silence
        self._stale = True
        return True

    def confirm(self, rows: Iterable[Row]) -> None:
        """Record that closed candles, as they were read, have all their trades."""
        self._confirmed |= {row.open_ms: row.raw for row in rows}
        self._stale = True

    def shows(self, row: Row) -> bool:
        """Return whether a frame has shown all trades of a row that was read."""
        frame = self._frames.get(row.open_ms)
        return frame is not None and frame.row.trades >= row.trades

    def drop_replaced(self, tail: Tail) -> None:
        """Forget the frames that a new read replaces: of settled candles, and of open ones that it contradicts."""
        start_ms, early_ms = tail.start_ms, tail.as_of_ms - tail.error_ms
        trades = {row.open_ms: row.trades for row in tail.rows}
        for open_ms, frame in list(self._frames.items()):
            older = not frame.final and frame.event_ms <= early_ms
            if open_ms < start_ms or (older and trades.get(open_ms, frame.row.trades) < frame.row.trades):
                del self._frames[open_ms]  # else its trades would refuse all later frames of the candle
        self._confirmed = {t: raw for t, raw in self._confirmed.items() if t >= start_ms}
        self._stale = True

    def over(self, tail: Tail) -> Tail:
        """Return the live tail; `tail`: the one that was read."""
        if self._stale or self._shown is None or self._read is not tail:
            live, shown = self._compose(tail, self._frames), self._shown
            if shown is not None and live.as_of_ms < shown.as_of_ms:
                if _holds(live, shown):
                    live = replace(live, as_of_ms=shown.as_of_ms, error_ms=shown.error_ms)
                elif self._read is tail:  # frames that it needs were forgotten
                    live = shown
            self._read, self._shown, self._stale = tail, live, False
        return self._shown

    def complete_until_ms(self, tail: Tail) -> int:
        """Return until when the live tail surely shows every trade: from then on, silence extends it."""
        live = self.over(tail)
        frame = self._frames.get(live.rows[-1].open_ms) if live.rows else None
        known_ms = self._known_until_ms(tail, live.rows[-1].trades if live.rows else 0, frame)
        silence = self._silence
        extended = live.rows and live.rows[-1].raw == silence.row and silence.since_ms <= known_ms
        return max(known_ms, silence.until_ms) if extended else known_ms

    def last_trade(self, tail: Tail) -> int:
        """Return the number of the last trade of the live tail's newest row, if a frame has told; -1 if none has."""
        rows = self.over(tail).rows
        frame = self._frames.get(rows[-1].open_ms) if rows else None
        return frame.last_trade if frame is not None and frame.row.trades == rows[-1].trades else -1

    def last_over(self, tail: Tail) -> Tail:
        """Return the live tail as it was when it was last asked for, or `tail` if that has been read since."""
        return tail if self._shown is None or self._shown.as_of_ms <= tail.as_of_ms else self._shown

    def known_at(self, tail: Tail, event_ms: int) -> Tail:
        """Return what was known of frames sent until `event_ms`, to which a reply sent then can be compared."""
        older = {t: frame for t, frame in self._frames.items() if frame.event_ms <= event_ms}
        return self._compose(tail, older) if older else tail

    def shown_closed(self, read_early_ms: int) -> dict[int, bytes]:
        """Return, by open time, the final frames that were shown for so long that a change is a revision."""
        latest_ms = read_early_ms - self._settling.policy.settle_ms
        return {t: f.row.raw for t, f in self._frames.items() if f.final and f.row.close_ms < latest_ms}

    # ------------------------------------------------------------------------------- composition

    def _compose(self, tail: Tail, frames: dict[int, Frame]) -> Tail:
        if not tail.rows or not (frames or self._silence.until_ms) or not self._is_confirmed(tail, frames):
            return tail
        early_ms = tail.as_of_ms - tail.error_ms
        rows = [self._closed_row(row, frames.get(row.open_ms), early_ms) for row in tail.rows[:-1]]
        newest, frame = tail.rows[-1], frames.get(tail.rows[-1].open_ms)
        complete, shown = newest.close_ms < early_ms, None
        if complete:
            newest = self._closed_row(newest, frame, early_ms)
        elif frame is not None and frame.event_ms > early_ms and frame.row.trades >= newest.trades:
            newest, complete, shown = frame.row, frame.final, frame
        rows.append(newest)
        while complete and (frame := frames.get(self._settling.next_open(newest.open_ms))) is not None:
            if frame.event_ms <= early_ms:
                break
            newest, complete, shown = frame.row, frame.final, frame
            rows.append(newest)
        as_of_ms = tail.as_of_ms
        if shown is not None:
            as_of_ms = max(as_of_ms, min(shown.event_ms, newest.close_ms))
        final = shown is not None and shown.final
        silence = self._silence
        known_ms = self._known_until_ms(tail, newest.trades, frames.get(newest.open_ms))
        if not final and newest.raw == silence.row and silence.since_ms <= known_ms and as_of_ms <= newest.close_ms:
            as_of_ms = max(as_of_ms, min(silence.until_ms, newest.close_ms))
        error_ms = tail.error_ms if as_of_ms == tail.as_of_ms else 0
        derived = shown is not None and shown.derived
        cadence_ms = self.cadence_ms if shown is not None and not derived else 0
        return Tail(tail.start_ms, tuple(rows), as_of_ms, tail.since_ms, error_ms, cadence_ms, final, derived)

    def _closed_row(self, row: Row, frame: Frame | None, early_ms: int) -> Row:
        """Return a closed candle as the read or the final frame shows it: the later one, but with no fewer trades."""
        if frame is None or not frame.final or frame.row.trades < row.trades:
            return row
        return frame.row if frame.row.trades > row.trades or frame.event_ms > early_ms else row

    def _is_confirmed(self, tail: Tail, frames: dict[int, Frame]) -> bool:
        """Return whether no closed candle was read so shortly after its close that it may be unfinished.

        Its final frame shows that it is not, and so do silence from before on, and the count of its trades.
        """
        early_ms, settle_ms = tail.as_of_ms - tail.error_ms, self._settling.policy.settle_ms
        closed = tail.rows if tail.rows[-1].close_ms < early_ms else tail.rows[:-1]
        doubtful = [row for row in closed if early_ms - row.close_ms < settle_ms and not self._is_complete(row, frames)]
        self.doubtful = tuple(doubtful)
        if not doubtful:
            return True
        silence = self._silence
        if silence.row != tail.rows[-1].raw or silence.since_ms > early_ms - settle_ms:
            return False
        if silence.until_ms < max(tail.as_of_ms, doubtful[-1].close_ms):
            return False
        self.confirm(doubtful)
        return True

    def _is_complete(self, row: Row, frames: dict[int, Frame]) -> bool:
        frame = frames.get(row.open_ms)
        return (frame is not None and frame.final) or self._confirmed.get(row.open_ms) == row.raw

    def _known_until_ms(self, tail: Tail, trades: int, frame: Frame | None) -> int:
        """Return until when the newest row, with so many trades, surely has them all.

        A server may lag by `SETTLE_S`, also one whose rows made a derived frame; `frame` is the newest one of the row's
        candle.
        """
        read_ms = tail.as_of_ms - tail.error_ms - self._settling.policy.settle_ms
        return read_ms if frame is None or frame.derived or frame.row.trades > trades else max(read_ms, frame.event_ms)


def _holds(live: Tail, shown: Tail) -> bool:
    """Return whether a tail has all that another one shows, so that it is no older."""
    trades = {row.open_ms: row.trades for row in live.rows}
    return all(row.open_ms < live.start_ms or trades.get(row.open_ms, -1) >= row.trades for row in shown.rows)
