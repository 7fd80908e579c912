"""Derive the open candle of a longer interval from the rows of a shorter one (docs/design.md#derivation). Pure.

It is derived only while the newest closed row of the longer series equals the merge of its own parts, character for
character, in the very series whose rows are used: a proof that ends with the next close, when it is given anew.
"""

from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from mdcache.candles.merged_rows import merge_rows
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame

_LONGEST_MS = INTERVALS["1d"].length_ms  # longer buckets open where only printed rows tell
_PAUSE_MS = 3_600_000  # a mismatch is one bucket's outage or correction, and each later bucket is proven anew
_TRADES = 8


class NotDerived(StrEnum):
    """Why no candle was derived. `MISMATCH` is told once for each row that differs from its parts."""

    NOT_NEWER = "not_newer"
    NO_PARTS = "no_parts"
    UNPROVEN = "unproven"
    MISMATCH = "mismatch"


class Mismatch(NamedTuple):
    """A settled row of the target that is not the merge of its settled parts."""

    open_ms: int
    printed: bytes
    merged: bytes


class _Bucket(NamedTuple):
    """The closed row of the target before the open bucket, and the bounds of that bucket."""

    closed: tuple[int, bytes]
    open_ms: int
    end_ms: int


class _Prefix(NamedTuple):
    """The merge of a bucket's settled parts, those before `end_ms`, while the parts' series has `version`."""

    open_ms: int
    end_ms: int
    version: int
    raw: bytes


def can_derive(target: SeriesKey, part: SeriesKey) -> bool:
    """Return whether the rows of `part` make up those of `target`: the same but for an interval that divides its."""
    length_ms, part_ms = INTERVALS[target.interval].length_ms, INTERVALS[part.interval].length_ms
    return (
        target.kind == "klines"
        and target.zone_minutes == 0
        and part == replace(target, interval=part.interval)
        and part_ms < length_ms <= _LONGEST_MS
        and length_ms % part_ms == 0
    )


class Derivation:
    """The open candle of one series, derived from one shorter series; `can_derive` of their keys must hold.

    `mismatch`: the last one; it ended derivation `ended_until_ms`.
    """

    def __init__(self, target: Series, parts: Series) -> None:
        self.target = target
        self.parts = parts
        self._scale = 1000 if target.key.micros else 1
        self._proven = b"", -1  # a row, and the version of the parts that make it, all of them settled
        self.mismatch = Mismatch(0, b"", b"")
        self.ended_until_ms = 0
        self._prefix: _Prefix | None = None

    @property
    def as_of_ms(self) -> int:
        """The as-of of what could be derived now, -1 if nothing could: what came after an unseen close is unknown."""
        tail = self.parts.live_tail
        return -1 if tail is None or not tail.rows or tail.derived else min(tail.as_of_ms, tail.rows[-1].close_ms)

    def refusal(self) -> NotDerived | None:
        """Return why nothing may be derived, whatever is newer; `None` if the bucket before the open one is proven."""
        tail = self.target.tail
        bucket = None if tail is None or self.as_of_ms < 0 else self._open_bucket(tail)
        return NotDerived.NO_PARTS if bucket is None else self._refuse(bucket, self.as_of_ms)

    def derive(self) -> Frame | NotDerived:
        """Return the target's open candle as of the parts' tail, if that is newer than what the target shows.

        The frame is never final, because only Binance's own row closes a candle.
        """
        tail, shown, parts_tail = self.target.tail, self.target.live_tail, self.parts.live_tail
        as_of_ms = self.as_of_ms
        if tail is None or shown is None or parts_tail is None or as_of_ms < 0:
            return NotDerived.NO_PARTS
        newest = parts_tail.rows[-1]
        if as_of_ms <= shown.as_of_ms:
            return NotDerived.NOT_NEWER
        bucket = self._open_bucket(tail)
        if bucket is None or not bucket.open_ms <= newest.open_ms < bucket.end_ms:
            return NotDerived.NO_PARTS
        if (refusal := self._refuse(bucket, as_of_ms)) is not None:
            return refusal
        raw = self._merge_open(bucket, parts_tail)
        if raw is None:
            return NotDerived.NO_PARTS
        row = Row(bucket.open_ms, bucket.end_ms - 1, int(raw.split(b",")[_TRADES]), raw)
        if any(row.trades < each.trades for each in shown.rows if each.open_ms == row.open_ms):
            return NotDerived.NO_PARTS
        return Frame(as_of_ms, row, final=False, derived=True)

    def _open_bucket(self, tail: Tail) -> _Bucket | None:
        """Return the bucket after the newest closed row, unless it may have ended, too, when the tail was read."""
        series = self.target
        closed = [row for row in tail.rows if row.close_ms < tail.as_of_ms - tail.error_ms]
        if closed:
            row = (closed[-1].open_ms, closed[-1].raw)
        elif (settled_ms := series.newest_settled()) >= 0:
            (row,) = series.blocks.printed_rows(settled_ms, settled_ms + 1)
        else:
            return None
        open_ms = series.next_open(row[0])
        end_ms = series.next_open(open_ms)
        open_rows = tail.rows[len(closed) :]
        if any((each.open_ms, each.close_ms + 1) != (open_ms, end_ms) for each in open_rows):
            return None
        return _Bucket(row, open_ms, end_ms)

    # ------------------------------------------------------------------------------- the proof

    def _refuse(self, bucket: _Bucket, as_of_ms: int) -> NotDerived | None:
        """Return why the bucket may not be derived; `None` if the row before it is the merge of its parts."""
        open_ms, raw = bucket.closed
        if as_of_ms < self.ended_until_ms or raw == self.mismatch.printed:
            return NotDerived.UNPROVEN
        if self._proven == (raw, self.parts.settled_version):
            return None
        merged = self._merge_whole(open_ms, bucket.open_ms)
        if merged == raw:
            if self._are_settled(bucket):  # else both may have been read unfinished, and the parts be complete by now
                self._proven = raw, self.parts.settled_version
            return None
        if merged is None or not self._settled(bucket):  # a row read soon after its close may be unfinished
            return NotDerived.UNPROVEN
        self.mismatch = Mismatch(open_ms, raw, merged)
        self.ended_until_ms = as_of_ms + _PAUSE_MS
        return NotDerived.MISMATCH

    def _settled(self, bucket: _Bucket) -> bool:
        """Return whether the row before the bucket is settled, and all its parts."""
        return self.target.coverage.at(bucket.closed[0]) is not None and self._are_settled(bucket)

    def _are_settled(self, bucket: _Bucket) -> bool:
        """Return whether all parts of the row before the bucket are settled."""
        tail = self.parts.tail
        return tail is not None and tail.start_ms >= bucket.open_ms

    # ------------------------------------------------------------------------------- the parts

    def _merge_whole(self, open_ms: int, end_ms: int) -> bytes | None:
        """Return the merge of all parts of an ended bucket, `None` if one is missing, cut or not known.

        Each row tells where the next one opens: what is not known is found by that, as coverage ends with a row.
        """
        tail = self.parts.live_tail
        tail_start_ms = end_ms if tail is None else min(end_ms, max(open_ms, tail.start_ms))
        raws = [raw for _, raw in self.parts.blocks.printed_rows(open_ms, tail_start_ms)]
        raws += [row.raw for row in self.parts.tail_rows if open_ms <= row.open_ms < end_ms]
        if not raws or _close_time(raws[-1]) != end_ms * self._scale - 1:
            return None
        return merge_rows(raws, open_ms * self._scale, end_ms * self._scale - 1)

    def _merge_open(self, bucket: _Bucket, tail: Tail) -> bytes | None:
        """Return the merge of the parts that have opened in a bucket, `None` if one is missing, cut or not known."""
        newest = tail.rows[-1]
        if newest.close_ms + 1 != self.parts.next_open(newest.open_ms):
            return None
        raws = [row.raw for row in tail.rows if row.open_ms >= bucket.open_ms]
        if bucket.open_ms < tail.start_ms:
            if (prefix := self._extend_prefix(bucket.open_ms, tail.start_ms)) is None:
                return None
            raws.insert(0, prefix)
        return merge_rows(raws, bucket.open_ms * self._scale, bucket.end_ms * self._scale - 1)

    def _extend_prefix(self, open_ms: int, end_ms: int) -> bytes | None:
        """Return the merge of the settled parts in [open_ms, end_ms): the one made before, and what settled since."""
        version = self.parts.settled_version
        prefix = self._prefix
        if prefix is None or (prefix.open_ms, prefix.version) != (open_ms, version) or prefix.end_ms > end_ms:
            prefix = _Prefix(open_ms, open_ms, version, b"")
        raws = [raw for _, raw in self.parts.blocks.printed_rows(prefix.end_ms, end_ms)]
        if raws:
            close_time = _close_time(raws[-1])
            raw = merge_rows([prefix.raw, *raws] if prefix.raw else raws, open_ms * self._scale, close_time)
            if raw is None:
                return None
            prefix = self._prefix = _Prefix(open_ms, close_time // self._scale + 1, version, raw)
        return prefix.raw or None


def _close_time(raw: bytes) -> int:
    """Return the close time that a row prints, in its own unit."""
    return int(raw.split(b",")[6])
