"""Print rows as the native API does: Binance's rows cut by byte operations, no number is parsed. Pure.

A row of JSON is Binance's without its last column, which means nothing; whether the candle is closed takes its place.
"""

from mdcache.exchange.klines import SeriesKey

COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "closed",
)
CSV_HEADER = ",".join(("market", "symbol", "interval", *COLUMNS)).encode() + b"\n"
_LAST, _LAST_ROW = b',"0"],[', b',"0"]'  # how nearly every row ends


def json_rows(raw: bytes, rows: int, *, newest_open: bool) -> bytes:
    """Return rows, joined by commas, as the native API prints them.

    Args:
        raw: The rows as Binance printed them, joined by commas.
        rows: How many there are.
        newest_open: Whether the last one is that of an open candle.
    """
    if not rows:
        return b""
    if raw.endswith(_LAST_ROW) and raw.count(_LAST) == rows - 1:
        cut = raw[: -len(_LAST_ROW)].replace(_LAST, b",true],[")
    else:
        lines = raw[1:-1].split(b"],[")
        cut = b"[" + b",true],[".join(b",".join(line.split(b",")[: len(COLUMNS) - 1]) for line in lines)
    return cut + (b",false]" if newest_open else b",true]")


def csv_rows(printed: bytes, key: SeriesKey) -> bytes:
    """Return rows as lines of a table.

    Args:
        printed: The rows as `json_rows` returns them.
        key: The series.
    """
    if not printed:
        return b""
    start = f"{key.market},{key.subject},{key.interval},".encode()
    return start + printed[1:-1].translate(None, b'"').replace(b"],[", b"\n" + start) + b"\n"
