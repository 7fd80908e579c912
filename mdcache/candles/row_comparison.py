"""Compare settled rows with a reply that shows them again (docs/design.md#audit). Pure."""

from dataclasses import dataclass

from mdcache.candles.merge import Revision, prove_reply
from mdcache.candles.series import Series
from mdcache.candles.window import Window
from mdcache.exchange.rows import Row


@dataclass(frozen=True, slots=True)
class RowComparison:
    """How a reply compares with what is settled in its window.

    `changes`: rows that differ; `was` is empty where a row is new, `now` where one is gone. `unproven`: known rows that
    are not in the reply, whose absence it does not prove.
    """

    same: int
    changes: tuple[Revision, ...]
    unproven: int


def compare_rows(series: Series, rows: list[Row], window: Window, as_of_ms: int) -> RowComparison:
    """Compare a reply to a window with both ends, whose blocks are in memory, with what is settled there."""
    start_ms, end_ms = window.start_ms or 0, (window.end_ms or 0) + 1
    proof = prove_reply(series, rows, window, as_of_ms)
    was = dict(series.blocks.printed_rows(start_ms, end_ms))
    now = {row.open_ms: row.raw for row in rows if series.coverage.at(row.open_ms) is not None}
    same, unproven, changes = 0, 0, []
    for open_ms in sorted(was | now):
        before, after = was.get(open_ms, b""), now.get(open_ms, b"")
        if before == after:
            same += 1
        elif not after and (proof is None or not proof.lo_ms <= open_ms < proof.hi_ms):
            unproven += 1
        else:
            changes.append(Revision(open_ms, before, after))
    return RowComparison(same, tuple(changes), unproven)
