"""The live tail: the tail that a REST read brought, with the newer frames of a stream laid over it. Pure.

A frame shows its candle as a whole, so lost frames, late ones and reconnects need no bookkeeping of their own: what the
frames can't prove is not shown, and the tail is as old as its newest proof (docs/design.md#stream-fed).
"""

from dataclasses import dataclass

from mdcache.candles.settling import Settling
from mdcache.candles.tail import Tail
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame

_MAX_BUCKETS = 256  # closed candles that wait to be settled; beyond it the oldest are forgotten, and read
_FINAL_GRACE_MS = 5_000  # a candle read just after its close must be confirmed within this time


@dataclass(frozen=True, slots=True)
class Silence:
    """No trade happened after `since_ms` until `until_ms` (event times), while `row` was the newest one, as printed."""

    since_ms: int
    until_ms: int
    row: bytes


class StreamTail:
    """The newest frame of each bucket of one series, and the tail that they make of the one that was read.

    `cadence_ms`: how often frames come.
    """

    __slots__ = ("_frames", "_live", "_read", "_settling", "_silence", "cadence_ms")

    def __init__(self, settling: Settling, cadence_ms: int) -> None:
        self.cadence_ms = cadence_ms
        self._settling = settling
        self._frames: dict[int, Frame] = {}
        self._silence = Silence(0, 0, b"")
        self._read: Tail | None = None  # the tail from which `_live` was made
        self._live: Tail | None = None

    def take(self, frame: Frame) -> bool:
        """Keep a frame; return False if it proves nothing new: it is no newer than what is known of its candle."""
        known = self._frames.get(frame.row.open_ms)
        if known is not None:
            if frame.event_ms <= known.event_ms or frame.row.trades < known.row.trades:
                return False
            if known.final and not frame.final:
                return False
        self._frames[frame.row.open_ms] = frame
        self._live = None
        if len(self._frames) > _MAX_BUCKETS:
            del self._frames[min(self._frames)]
        return True

    def note_silence(self, silence: Silence) -> bool:
        """Record that nothing was traded for a while; return whether that is news."""
        if silence.until_ms <= self._silence.until_ms:
            return False
        self._silence = silence
        self._live = None
        return True

    def shows(self, row: Row) -> bool:
        """Return whether a frame has shown all trades of a row that was read."""
        frame = self._frames.get(row.open_ms)
        return frame is not None and frame.row.trades >= row.trades

    def drop_before(self, start_ms: int) -> None:
        """Forget the frames of candles that are settled."""
        for open_ms in [t for t in self._frames if t < start_ms]:
            del self._frames[open_ms]
        self._live = None

    def over(self, tail: Tail) -> Tail:
        """Return the live tail; `tail`: the one that was read."""
        if self._live is None or self._read is not tail:
            self._read, self._live = tail, self._compose(tail, self._frames)
        return self._live

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
        if not tail.rows or not (frames or self._silence.until_ms):
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
        if not final and newest.raw == silence.row and silence.since_ms <= as_of_ms <= newest.close_ms:
            as_of_ms = max(as_of_ms, min(silence.until_ms, newest.close_ms))
        if self._lacks_final(tail, frames, early_ms, as_of_ms):
            return tail
        error_ms = tail.error_ms if as_of_ms == tail.as_of_ms else 0
        cadence_ms = self.cadence_ms if shown is not None else 0
        return Tail(tail.start_ms, tuple(rows), as_of_ms, tail.since_ms, error_ms, cadence_ms, final)

    def _closed_row(self, row: Row, frame: Frame | None, early_ms: int) -> Row:
        """Return a closed candle as the read or the final frame shows it: the later one, but with no fewer trades."""
        if frame is None or not frame.final or frame.row.trades < row.trades:
            return row
        return frame.row if frame.row.trades > row.trades or frame.event_ms > early_ms else row

    def _lacks_final(self, tail: Tail, frames: dict[int, Frame], early_ms: int, as_of_ms: int) -> bool:
        """Return whether a candle that was read just after its close, maybe unfinished, should have been confirmed."""
        for row in reversed(tail.rows):
            if row.close_ms >= early_ms:
                continue
            if early_ms - row.close_ms >= self._settling.policy.settle_ms:
                return False
            frame = frames.get(row.open_ms)
            if (frame is None or not frame.final) and as_of_ms - row.close_ms > _FINAL_GRACE_MS:
                return True
        return False
