"""What parses bytes of strangers, each as a function of bytes that raises only where something is wrong.

Run by `python -m tests.fuzz` with the coverage that they reach as its guide, and with the corpus by the suite.
"""

import json
import zipfile
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from io import BytesIO
from itertools import accumulate
from unittest import mock

from mdcache.candles.block import Block
from mdcache.clock import Instant
from mdcache.dumps.csv_rows import CsvRows
from mdcache.dumps.faults import DumpUnusable
from mdcache.dumps.files import DumpFile
from mdcache.dumps.zip_reader import read_lines
from mdcache.errors import InvalidBody, Refusal
from mdcache.exchange import streams, symbol_list
from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.exchange_info import ExchangeInfoDocument, SymbolSelection, parse_selection
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import MICROSECONDS_FROM, SeriesKey, parse_klines, request_query
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.rows import COLUMNS, ExpectedRows, read_page
from mdcache.exchange.snapshot_checks import check_body, elements_by_symbol
from mdcache.exchange.snapshots import parse_snapshot
from mdcache.exchange.symbols import read_symbols
from mdcache.exchange.topics import frame_position, kline_mark
from mdcache.relay.finals import mended_frame
from mdcache.serving.binance.handler import decode_query
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.native.candles_query import check_rows, parse_candles_query
from mdcache.serving.native.positions import BadPosition, Position
from mdcache.serving.native.stream_query import parse_stream_query
from mdcache.serving.native.tokens import BadToken, read_token
from mdcache.serving.streams.listener_messages import MessageRefused
from mdcache.serving.streams.listener_messages import read_message as read_listener_message
from mdcache.serving.streams.paths import parse_stream_path
from mdcache.stores.block_codec import decode, encode
from mdcache.stores.compression import Unreadable, compress
from mdcache.upstream.streams.messages import TopicFrame, read_message

NOW_MS = 1_790_771_371_858
_UNITS: tuple[Mapping[str, str], ...] = ({}, {"x-mbx-time-unit": "MICROSECOND"}, {"x-mbx-time-unit": "\xff"})
_KLINE_PATHS = tuple(KLINE_ENDPOINTS.values())
_SNAPSHOT_PATHS = tuple(ENDPOINTS)
_PARSER = RequestParser({"engine": "high"}, "on")
_HEADERS = (
    *(b"accept-encoding", b"cache-control", b"pragma", b"if-none-match", b"x-mbx-time-unit", b"x-mdcache-client"),
    b"x-mdcache-min-as-of",
)
_INTERVALS = tuple(INTERVALS)
_KEYS = (
    SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m"),
    SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m", micros=True),
    SeriesKey(Market.USDM, "continuousKlines", "BTCUSDT", "PERPETUAL", "1h"),
    SeriesKey(Market.COINM, "indexPriceKlines", "BTCUSD", "", "1m"),
    SeriesKey(Market.USDM, "markPriceKlines", "BTCUSDT", "", "1m"),
)
_LIST_QUESTIONS = (
    parse_snapshot("/api/v3/ticker/price", "symbol=BTCUSDT", None),
    parse_snapshot("/api/v3/ticker/price", "", None),
    parse_snapshot("/fapi/v1/premiumIndex", "symbol=BTCUSDT", None),
    parse_snapshot("/api/v3/depth", "symbol=BTCUSDT", None),
)
_DUMP = DumpFile(Market.SPOT, "BTCUSDT", "1h", date(2024, 1, 1), daily=False)
_TOPICS = ("btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "btcusdt@bookTicker", "!miniTicker@arr")


def query(data: bytes) -> None:
    """A query of each kind of path: refused, or a question that is printed and parsed to the same."""
    kind, which, unit, raw = data[:1] or b"\0", data[1:2] or b"\0", data[2:3] or b"\0", data[3:]
    headers = _UNITS[unit[0] % len(_UNITS)]
    with suppress(Refusal):
        text = decode_query(raw)
        match kind[0] % 5:
            case 0:
                _klines(which[0], text, headers)
            case 1:
                _snapshot(which[0], text, headers.get("x-mbx-time-unit"))
            case 2:
                check_rows(parse_candles_query(text), NOW_MS)
            case 3:
                parse_stream_query(text)
            case _:
                parse_selection(text, headers.get("x-mbx-time-unit"))


def _klines(which: int, text: str, headers: Mapping[str, str]) -> None:
    endpoint = _KLINE_PATHS[which % len(_KLINE_PATHS)]
    found = parse_klines(endpoint, text, headers)
    found.check_span()
    asked = found.row_query(NOW_MS)
    assert asked.limit == found.limit >= 1
    if max(found.start_ms or 0, found.end_ms or 0) < MICROSECONDS_FROM:
        sent = request_query(found.key, found.start_ms, found.end_ms, found.limit)
        assert sent.isascii()
        assert sent.isprintable()
        assert parse_klines(endpoint, sent, headers) == found


def _snapshot(which: int, text: str, unit: str | None) -> None:
    found = parse_snapshot(_SNAPSHOT_PATHS[which % len(_SNAPSHOT_PATHS)], text, unit)
    assert found.query.isascii()
    assert found.query.isprintable()
    assert found.weight >= 0
    assert parse_snapshot(found.endpoint.path, found.query, unit) == found


def headers(data: bytes) -> None:
    """Headers that are read, each named by its first byte, a line each."""
    fields = [(_HEADERS[line[0] % len(_HEADERS)], line[1:]) for line in data.split(b"\n") if line]
    found = _PARSER.parse(_KLINE_PATHS[0], b"", fields)
    if found.directives is not None:
        ages = (found.directives.max_age_s, found.directives.max_stale_s, found.directives.min_as_of_ms)
        assert all(each is None or 0 <= each < 10**16 for each in ages)


def listeners(data: bytes) -> None:
    """What listeners send: an address, a message, a position, a token."""
    text = data.decode("latin-1")
    path = parse_stream_path(text)
    assert path is None or all(path.topics)
    for market in Market:
        with suppress(MessageRefused):
            read_listener_message(market, data.decode(errors="replace"))
    with suppress(BadPosition):
        position = Position.read("x." + text, "x", 8, 2)
        again = Position.read(str(position), "x", 8, 2)
        for interval in range(2):
            for symbol in range(8):
                assert position.until_ms(interval, symbol) == again.until_ms(interval, symbol)
    with suppress(BadToken):
        assert len(read_token(text, "0123456789abcdef", 2, Instant(NOW_MS, 0))) == 2


def rows(data: bytes) -> None:
    """A kline body: refused with a reason, or rows that read the same when they are printed again."""
    options, body = data[:1] or b"\0", data[1:]
    interval = INTERVALS[_INTERVALS[options[0] % len(_INTERVALS)]]
    micros, signed = options[0] >= 0x80, options[0] & 0x40 > 0
    expected = ExpectedRows(interval, 0, MICROSECONDS_FROM, 1_000, micros=micros, signed=signed)
    with suppress(InvalidBody):
        page = read_page(body, expected)
        times = [row.open_ms for row in page.rows]
        assert times == sorted(set(times))
        assert all(0 <= row.open_ms <= row.close_ms for row in page.rows)
        printed = read_page(b"[%b]" % b",".join(row.raw for row in page.rows), expected)
        assert printed.rows == page.rows
        assert all(row.raw.count(b",") >= COLUMNS - 1 for row in page.rows)


def lists(data: bytes) -> None:
    """A list of symbols, cut in one piece or in slices, and bodies of other questions: refused, or passed on whole."""
    how, body = (data[:1] or b"\0")[0], data[1:]
    with suppress(InvalidBody):
        check_body(_LIST_QUESTIONS[how % len(_LIST_QUESTIONS)], body)
        if body.startswith(b"["):
            elements_by_symbol(body)
    with suppress(InvalidBody):
        read_symbols(Market.SPOT, body, NOW_MS)
    with mock.patch.object(symbol_list, "_SLICE_BYTES", 50 if how >= 0x80 else 1 << 16), suppress(InvalidBody):
        document = ExchangeInfoDocument(body)
        whole = document.body(NOW_MS, SymbolSelection())
        with suppress(ValueError, RecursionError):
            sent = json.loads(body)
            if "serverTime" in sent:
                sent["serverTime"] = NOW_MS
            assert json.loads(whole) == sent or whole.lower().count(b"nan")
        with suppress(Refusal):
            document.body(NOW_MS, SymbolSelection(names=("BTCUSDT",)))
        document.body(NOW_MS, SymbolSelection(status="TRADING", permissions=frozenset({"SPOT"})))


def frames(data: bytes) -> None:
    """A message of a stream: what is relayed is text, and a candle is a row that REST could print."""
    which, body = (data[:1] or b"\0")[0], data[1:]
    key = _KEYS[which % len(_KEYS)]
    found = read_message(body)
    if isinstance(found, TopicFrame):
        assert found.data.decode()  # or the libraries of all who listen would end their connections
        found.topic.encode()
    for topic in _TOPICS:
        frame_position(topic, body)
    kline_mark(body)
    with suppress(InvalidBody):
        streams.read_mini_tickers(body, key.market)
    with suppress(InvalidBody):
        frame = streams.read_frame(body, key)
        expected = ExpectedRows(INTERVALS[key.interval], 0, frame.event_ms, 1, micros=key.micros)
        assert read_page(b"[%b]" % frame.row.raw, expected).rows == [frame.row]
        mended = mended_frame(body, key, frame.row.raw, frame.row.close_ms + 5)
        assert mended is None or streams.read_frame(mended, key).row == frame.row


def blocks(data: bytes) -> None:
    """A stored block, damaged or not: unreadable, or a block; and rows, which are stored and read as they are."""
    how, body = (data[:1] or b"\0")[0], data[1:]
    if how % 3 < 2:
        with suppress(Unreadable):
            decode(7, compress(body) if how % 3 else body)
        return
    texts = [each.replace(b"\0", b"") for each in body.split(b"\n")]
    ends = array("I", [end - 1 for end in accumulate(len(each) + 1 for each in texts)])
    opens = array("q", [60_000 * n + len(each) for n, each in enumerate(texts)])
    found = decode(7, encode(Block(7, opens, ends, b",".join(texts))))
    assert (found.open_times, found.row_ends, found.text) == (opens, ends, b",".join(texts))


def dumps(data: bytes) -> None:
    """A dump file: damaged, or the rows in it, each as REST prints it; other lines are left out."""
    how, body = (data[:1] or b"\0")[0], data[1:]
    reader, rows = CsvRows(_DUMP, 10**14), []
    with suppress(DumpUnusable):
        if how % 3 == 1:
            body = _zipped(body)
        pieces = [body] if how % 3 == 2 else read_lines(BytesIO(body), _DUMP)
        for found in reader.read(pieces):
            rows += found
    start_ms, end_ms = _DUMP.span
    times = [row.open_ms for row in rows]
    assert times == sorted(set(times))
    assert all(start_ms <= each < end_ms for each in times)
    assert reader.refused >= 0
    expected = ExpectedRows(INTERVALS[_DUMP.interval], start_ms, end_ms - 1, 1_000)
    if rows:
        assert read_page(b"[%b]" % b",".join(row.raw for row in rows[:1_000]), expected).rows == rows[:1_000]


def _zipped(text: bytes) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_DUMP.name.removesuffix(".zip") + ".csv", text)
    return stream.getvalue()


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (query, headers, listeners, rows, lists, frames, blocks, dumps)
}
