"""Trading sessions as known at a moment: the spans between listing, outages, halt and now.

Pure; half-open spans of milliseconds.
"""

from collections.abc import Iterable, Sequence

from mdcache.sim.config import Outage

Stretch = tuple[int, int]


def unfilled(outages: Iterable[Outage], at_ms: int) -> tuple[Outage, ...]:
    """Return the outages whose rows have not been filled in by `at_ms`."""
    return tuple(one for one in outages if one.filled_ms is None or at_ms < one.filled_ms)


def joined(outages: Iterable[Outage]) -> list[Stretch]:
    """Return outages in order, with adjacent ones merged."""
    stretches: list[Stretch] = []
    for start, end in sorted((one.start_ms, one.end_ms) for one in outages if one.start_ms < one.end_ms):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
    return stretches


def sessions(first_ms: int, end_ms: int, closures: Sequence[Stretch]) -> list[Stretch]:
    """Return [first_ms, end_ms) without the closed spans (in order, disjoint)."""
    found: list[Stretch] = []
    begin = first_ms
    for start, end in closures:
        if start >= end_ms:
            break
        if begin < start:
            found.append((begin, start))
        begin = max(begin, end)
    if begin < end_ms:
        found.append((begin, end_ms))
    return found


def cut_close_ms(open_ms: int, close_ms: int, closures: Iterable[Stretch], at_ms: int) -> int:
    """Return the close time printed for [open_ms, close_ms]: earlier if the rest of the bucket lies in one outage.

    It is then the last millisecond before the halt, shown as soon as the halt begins
    (docs/binance.md#cut-close-times).
    """
    for start, end in closures:
        if open_ms < start <= min(close_ms, at_ms) and end > close_ms:
            return start - 1
    return close_ms
