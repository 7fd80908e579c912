"""Merge printed rows into the row of a longer interval, exactly as Binance prints it (docs/design.md#derivation). Pure.

Sums keep the decimals of their parts, and prices are copied. Whatever is not plainly right gives no row.
"""

from collections.abc import Sequence
from operator import sub

import msgspec

from mdcache.exchange.rows import Columns

_decoder = msgspec.json.Decoder(list[Columns])


def merge_rows(parts: Sequence[bytes], open_time: int, close_time: int) -> bytes | None:
    """Return the row that consecutive shorter rows make up.

    Parts without trades lend no open, high, low or close: their prices repeat the close before them.

    Args:
        parts: Printed rows of one symbol, in rising order.
        open_time: The open time to print, in the parts' unit.
        close_time: The close time to print, in the parts' unit.

    Returns:
        The printed row. `None` if it can't be known: the parts do not begin at `open_time`, do not follow each other
        without a gap, or end after `close_time`; they have other columns than twelve, or numbers with different numbers
        of decimals; none has trades, and their prices differ.
    """
    try:
        lines = _decoder.decode(b"[%b]" % b",".join(parts))
        return _print_merged(lines, open_time, close_time) if lines else None
    except ValueError:  # those of msgspec are some, too
        return None


def _print_merged(lines: list[Columns], open_time: int, close_time: int) -> bytes:
    """Merge rows; raise `ValueError` if that can't be done."""
    columns = zip(*lines, strict=True)
    starts, opens, highs, lows, closes, volumes, ends, turnovers, trades, taker, taker_turnovers, unused = columns
    if starts[0] != open_time or ends[-1] > close_time or any(map((-1).__add__, map(sub, starts[1:], ends))):
        raise ValueError("not consecutive")
    if len({*unused}) > 1 or len({_decimals(prices) for prices in (opens, highs, lows, closes)}) > 1:
        raise ValueError("printed differently")
    traded = [place for place, count in enumerate(trades) if count]
    if not traded:
        if len({*opens, *highs, *lows, *closes}) > 1:
            raise ValueError("no trades, but different prices")
        traded = [0]
    high = highs[max(traded, key=_whole_numbers(highs).__getitem__)]
    low = lows[min(traded, key=_whole_numbers(lows).__getitem__)]
    return (
        f'[{open_time},"{opens[traded[0]]}","{high}","{low}","{closes[traded[-1]]}","{_add_up(volumes)}",{close_time},'
        f'"{_add_up(turnovers)}",{sum(trades)},"{_add_up(taker)}","{_add_up(taker_turnovers)}","{unused[0]}"]'
    ).encode()


def _add_up(texts: Sequence[str]) -> str:
    """Return the sum of decimals, with as many decimals as they have."""
    decimals, total = _decimals(texts), sum(_whole_numbers(texts))
    if not decimals:
        return str(total)
    digits = str(total).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def _decimals(texts: Sequence[str]) -> int:
    """Return how many decimals the texts have; raise `ValueError` if not all have the same number."""
    points = "".join(texts).count(".")
    if not points:
        return 0
    after = len(texts[0]) - texts[0].index(".")
    if points != len(texts) or {text[-after : len(text) - after + 1] for text in texts} != {"."}:
        raise ValueError("different numbers of decimals")
    return after - 1


def _whole_numbers(texts: Sequence[str]) -> list[int]:
    """Return decimals in units of their last one; raise `ValueError` if a text is no decimal."""
    digits = ",".join(texts).replace(".", "")
    if not digits.replace(",", "").encode().isdigit():  # of bytes; int() alone accepts more
        raise ValueError("not a decimal")
    return list(map(int, digits.split(",")))
