"""Every parameter rule of docs/binance.md#klines, #errors, as a table of requests and what becomes of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.errors import Refusal
from mdcache.exchange.klines import RowQuery, parse_klines, request_query
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.refusals import bad_pair

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
GOOD = "symbol=BTCUSDT&interval=1m"
DAY = 86_400_000
NOW = 1_790_771_371_858


def refusal(path: str, query: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        parse_klines(KLINE_ENDPOINTS[path], query, headers or {}).check_span()
    assert caught.value.status == 400
    return caught.value.code, caught.value.msg


@pytest.mark.parametrize(
    ("path", "query", "code", "text"),
    [
        (SPOT, "", -1102, "'symbol'"),
        (SPOT, "symbol=BTCUSDT", -1102, "'interval'"),
        (USDM, "interval=1m", -1102, "'symbol'"),
        ("/fapi/v1/continuousKlines", "interval=1m", -1102, "'pair'"),
        ("/fapi/v1/continuousKlines", "pair=BTCUSDT&interval=1m", -1102, "'contractType'"),
        ("/fapi/v1/continuousKlines", "pair=BTCUSDT&interval=1m&contractType=X", -4104, "contract type"),
        ("/dapi/v1/continuousKlines", "pair=BTCUSD&interval=1m&contractType=TRADIFI_PERPETUAL", -4104, "contract"),
        ("/dapi/v1/indexPriceKlines", "symbol=BTCUSD_PERP&interval=1m", -1102, "'pair'"),
        (SPOT, "symbol=&interval=1m", -1105, "'symbol'"),
        (SPOT, GOOD + "&startTime=", -1105, "'startTime'"),
        (SPOT, GOOD + "&symbol=ETHUSDT", -1101, "Duplicate"),
        (SPOT, "symbol=btcusdt&interval=1m", -1100, "'symbol'"),
        (SPOT, "symbol=BTC%20USDT&interval=1m", -1100, "'symbol'"),
        (SPOT, "symbol=" + "A" * 51 + "&interval=1m", -1100, "'symbol'"),
        (USDM, "symbol=BTC/USDT&interval=1m", -1100, "'symbol'"),
        (SPOT, GOOD + "&limit=abc", -1100, "'limit'; legal range is '^[0-9]{1,20}$'"),
        (SPOT, GOOD + "&limit=-1", -1100, "'limit'"),
        (SPOT, GOOD + "&limit=%D9%A1", -1100, "'limit'"),  # a digit, but not one of 0-9
        (SPOT, GOOD + "&startTime=1.5", -1100, "'startTime'"),
        (SPOT, GOOD + "&endTime=" + "9" * 21, -1100, "'endTime'"),
        (SPOT, GOOD + "&limit=0", -1130, "'limit'"),
        (USDM, GOOD + "&limit=0", -1130, "'limit'"),
        (USDM, GOOD + "&limit=1501", -1130, "'limit'"),
        (COINM, "symbol=BTCUSD_PERP&interval=1m&limit=1501", -1130, "'limit'"),
        (SPOT, GOOD + "&star_time=1", -1104, "read '2' parameter(s) but was sent '3'"),
        (SPOT, "symbol=BTCUSDT&interval=1D", -1120, "Invalid interval."),
        (SPOT, "symbol=BTCUSDT&interval=1mo", -1120, "Invalid interval."),
        (USDM, "symbol=BTCUSDT&interval=1s", -1120, "Invalid interval."),
        (COINM, "symbol=BTCUSD_PERP&interval=1s", -1120, "Invalid interval."),
        (SPOT, GOOD + "&timeZone=15", -1130, "'timeZone'"),
        (SPOT, GOOD + "&timeZone=-12:01", -1130, "'timeZone'"),
        (SPOT, GOOD + "&timeZone=1:60", -1130, "'timeZone'"),
        (SPOT, GOOD + "&timeZone=Europe", -1130, "'timeZone'"),
        (USDM, GOOD + "&startTime=2&endTime=1", -1023, "Start time is greater than end time."),
        (COINM, "symbol=BTCUSD_PERP&interval=1m&startTime=2&endTime=1", -1023, "Start time"),
        (COINM, f"symbol=X&interval=1d&startTime=0&endTime={200 * DAY + 1}", -4088, "200 days"),
        (SPOT, "&".join(f"a{n}=1" for n in range(10_000)), -1101, "Too many parameters"),
    ],
)
def test_refused_as_binance_refuses(path: str, query: str, code: int, text: str) -> None:
    found, msg = refusal(path, query)
    assert (found, text in msg) == (code, True), msg


def test_a_bad_time_unit_is_refused_on_spot_only() -> None:
    assert refusal(SPOT, GOOD, {"x-mbx-time-unit": "NANOSECOND"})[0] == -1194
    assert not parse_klines(KLINE_ENDPOINTS[USDM], GOOD, {"x-mbx-time-unit": "NANOSECOND"}).key.micros


def test_futures_ignore_what_they_do_not_know() -> None:
    for more in ("&foo=", "&foo=1&foo=2", "&timeZone=", "&contractType=&pair="):
        assert parse_klines(KLINE_ENDPOINTS[USDM], GOOD + more, {}) == parse_klines(KLINE_ENDPOINTS[USDM], GOOD, {})
        assert refusal(SPOT, GOOD + more)[0] in {-1101, -1105}
    assert refusal("/fapi/v1/continuousKlines", "pair=BTCUSDT&interval=1m&contractType=X&limit=0")[0] == -1130


def test_what_makes_a_series() -> None:
    def key(query: str, headers: dict[str, str] | None = None, path: str = SPOT) -> object:
        return parse_klines(KLINE_ENDPOINTS[path], query, headers or {}).key

    assert key(GOOD) == key("interval=1m&limit=7&startTime=5&symbol=BTCUSDT&timeZone=0")
    assert key(GOOD) == key(GOOD, {"x-mbx-time-unit": "millisecond"})
    assert key(GOOD) != key(GOOD, {"x-mbx-time-unit": "microsecond"})
    assert key(GOOD) != key(GOOD, path="/api/v3/uiKlines")
    assert key(GOOD + "&timeZone=8") == key(GOOD + "&timeZone=%2B08:00") != key(GOOD)
    assert key(GOOD + "&timeZone=-0") == key(GOOD)
    assert key("symbol=btcusdt&interval=1m", path=USDM) == key(GOOD, path=USDM)
    assert key(GOOD.replace("1m", "1M")) != key(GOOD)
    assert key(GOOD + "&timeZone=8", path=USDM) == key(GOOD, path=USDM)  # futures ignore what they don't know


def test_limits() -> None:
    def limit(path: str, extra: str) -> int:
        return parse_klines(KLINE_ENDPOINTS[path], GOOD + extra, {}).limit

    assert [limit(SPOT, ""), limit(USDM, ""), limit(COINM, "")] == [500, 500, 500]
    assert limit(SPOT, "&limit=5000") == 1000
    assert limit(USDM, "&limit=1500") == 1500


def test_spot_takes_microseconds() -> None:
    question = parse_klines(KLINE_ENDPOINTS[SPOT], GOOD + "&startTime=1735689600000001&endTime=1735689660000999", {})
    assert (question.start_ms, question.end_ms) == (1735689600001, 1735689660000)
    assert parse_klines(KLINE_ENDPOINTS[SPOT], GOOD + "&startTime=" + "9" * 20, {}).start_ms is not None


def ask(path: str, extra: str) -> RowQuery:
    rule = KLINE_ENDPOINTS[path]
    return parse_klines(rule, GOOD + extra, {}).row_query(NOW)


@pytest.mark.parametrize("path", [SPOT, USDM, "/dapi/v1/premiumIndexKlines"])
def test_windows_of_spot_and_usdm(path: str) -> None:
    assert ask(path, "") == RowQuery(0, None, 500, newest=True)
    assert ask(path, "&endTime=9") == RowQuery(0, 9, 500, newest=True)
    assert ask(path, "&startTime=9") == RowQuery(9, None, 500, newest=False)
    assert ask(path, "&startTime=5&endTime=9&limit=2") == RowQuery(5, 9, 2, newest=False)


def test_windows_of_coinm() -> None:
    far = 200 * DAY
    assert ask(COINM, "") == RowQuery(NOW - far, None, 500, newest=True)
    assert ask(COINM, f"&endTime={far + 9}") == RowQuery(9, far + 9, 500, newest=True)
    assert ask(COINM, "&startTime=9") == RowQuery(9, far + 9, 500, newest=True)
    assert ask(COINM, f"&startTime={NOW - 9}") == RowQuery(NOW - 9, None, 500, newest=True)
    assert ask(COINM, "&startTime=5&endTime=9") == RowQuery(5, 9, 500, newest=True)


@given(
    path=st.sampled_from(sorted(KLINE_ENDPOINTS)),
    start=st.none() | st.integers(0, 10**13),
    end=st.none() | st.integers(0, 10**13),
    limit=st.integers(1, 1000),
    zone=st.integers(-12 * 60, 14 * 60),
)
def test_what_is_sent_means_what_was_asked(
    path: str, start: int | None, end: int | None, limit: int, zone: int
) -> None:
    rule = KLINE_ENDPOINTS[path]
    query = f"{rule.subject.value}=BTC_X&interval=3d&limit={limit}"
    query += f"&contractType={rule.contract_types[0]}" if rule.contract_types else ""
    if rule.market is Market.SPOT:
        query += f"&timeZone={'-' if zone < 0 else ''}{abs(zone) // 60}:{abs(zone) % 60:02d}"
    question = parse_klines(rule, query, {})
    sent = request_query(question.key, start, end, limit)
    again = parse_klines(rule, sent, {})
    assert (again.key, again.start_ms, again.end_ms, again.limit) == (question.key, start, end, limit)


@given(query=st.text(max_size=80), path=st.sampled_from(sorted(KLINE_ENDPOINTS)))
def test_any_text_is_a_question_or_a_refusal(query: str, path: str) -> None:
    with contextlib.suppress(Refusal):  # any other exception fails
        assert parse_klines(KLINE_ENDPOINTS[path], query, {}).limit > 0


@pytest.mark.parametrize(
    ("path", "query", "reaches"),
    [
        (SPOT, "", True),
        (SPOT, f"&endTime={NOW - 1}", False),
        (SPOT, f"&endTime={NOW}", True),
        (SPOT, f"&startTime={NOW - 10 * 60_000}&limit=10", True),
        (SPOT, f"&startTime={NOW - 10 * 60_000 - 1}&limit=10", False),
        (COINM, f"&startTime={NOW - DAY}&limit=10", True),  # it answers with the newest of the range
        (SPOT, f"&startTime={NOW - 400 * DAY}&limit=1&interval=1M", True),  # a month has no one length
    ],
)
def test_which_answers_may_hold_the_open_candle(path: str, query: str, *, reaches: bool) -> None:
    start = "symbol=BTCUSDT" + ("" if "interval" in query else "&interval=1m")
    assert parse_klines(KLINE_ENDPOINTS[path], start + query, {}).may_reach(NOW) is reaches


def test_a_span_is_checked_to_the_millisecond_where_both_ends_are_given() -> None:
    span = KLINE_ENDPOINTS[COINM].max_span_ms
    assert span is not None
    start = f"{GOOD}&startTime={NOW}"
    assert refusal(COINM, f"{start}&endTime={NOW + span + 1}")[0] == -4088
    for path, query in ((COINM, f"{start}&endTime={NOW + span}"), (COINM, start), (SPOT, f"{start}&endTime={NOW - 1}")):
        question = parse_klines(KLINE_ENDPOINTS[path], query, {})
        question.check_span()
        assert question.bounded is ("endTime" in query)


def test_each_market_has_its_own_number_for_a_bad_pair() -> None:
    assert [(each.code, each.msg) for each in map(bad_pair, (Market.COINM, Market.USDM))] == [
        (-4087, "Invalid pair."),
        (-4144, "Invalid pair"),
    ]
