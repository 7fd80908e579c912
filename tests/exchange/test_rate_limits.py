"""What Binance says about limits, as captures and documents give it (docs/binance.md#limits, #exchange-info)."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import (
    FUNDING,
    FUTURES_DATA,
    banned_until_ms,
    request_bucket,
    usage_is_reliable,
    used_weight,
    weight_limit,
    whole_seconds,
)

SPOT = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
]


def weight(interval: object, number: object, limit: object) -> dict[str, object]:
    return {"rateLimitType": "REQUEST_WEIGHT", "interval": interval, "intervalNum": number, "limit": limit}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (SPOT, 6000),
        ([weight("MINUTE", 1, 1200)], 1200),
        ([weight("MINUTE", 1, 2400), weight("MINUTE", 5, 6100)], 1220),
        ([weight("SECOND", 10, 500)], 500),
        ([weight("HOUR", 1, 60_000)], 1000),
        ([weight("DAY", 1, 100)], 1),
        ([], 6000),
        (None, 6000),
        ({"limit": 5}, 6000),
        (["x", 3, None], 6000),
        ([weight("MINUTE", 1, 0)], 6000),
        ([weight("MINUTE", 0, 100)], 6000),
        ([weight("FORTNIGHT", 1, 100)], 6000),
        ([weight(None, 1, 100)], 6000),
        ([weight("MINUTE", 1, "6000")], 6000),
    ],
)
def test_limit_of_a_market(stated: object, expected: int) -> None:
    assert weight_limit(Market.SPOT, stated) == expected


@pytest.mark.parametrize("market", [Market.USDM, Market.COINM])
def test_futures_without_a_stated_limit(market: Market) -> None:
    assert weight_limit(market, []) == 2400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-mbx-used-weight", "9"), ("x-mbx-used-weight-1m", "7")], 7),
        ([("X-MBX-USED-WEIGHT-1M", "7")], 7),
        ([("x-mbx-used-weight-1m", "7"), ("x-mbx-used-weight-1M", "8")], 8),
        ([("x-mbx-used-weight-1m", "-1")], None),
        ([("x-mbx-used-weight-1m", "")], None),
        ([("x-mbx-used-weight-1m", "many")], None),
        ([("x-mbx-used-weight-1m", "9" * 40)], None),
        ([("x-mbx-used-weight-1h", "7"), ("x-mbx-used-weight-5m", "8")], None),
        ([("x-mbx-order-count-1m", "7")], None),
        ([], None),
    ],
)
def test_usage_headers(headers: list[tuple[str, str]], expected: int | None) -> None:
    assert used_weight(headers) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 35 ", 35),
        ("999999999", 999999999),
        ("-5", None),
        ("1.5", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, expected: int | None) -> None:
    assert whole_seconds(value) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"Way too many requests; IP(1.2.3.4) banned until 1783855317204. Please", 1783855317204),
        (b'{"code":-1003,"msg":"IP banned until 1659146400000."}', 1659146400000),
        (b"banned until 16591464000001", None),
        (b"banned until 1659146400", 1659146400000),
        (b"Banned until 1659146400000001", 1659146400001),
        (b"banned until tomorrow", None),
        (b"", None),
    ],
)
def test_banned_until(body: bytes, expected: int | None) -> None:
    assert banned_until_ms(body) == expected


@pytest.mark.parametrize(
    ("path", "sound"),
    [
        ("/api/v3/klines", True),
        ("/fapi/v1/klines", True),
        ("/dapi/v1/klines", True),
        ("/fapi/v1/trades", False),
        ("/fapi/v1/ticker/bookTicker", False),
        ("/fapi/v2/ticker/price", False),
        ("/fapi/v1/fundingRate", False),
        ("/futures/data/basis", False),
    ],
)
def test_where_usage_is_sound(path: str, *, sound: bool) -> None:
    assert usage_is_reliable(path) is sound


def test_buckets_of_counted_requests() -> None:
    assert request_bucket("/fapi/v1/fundingRate") is request_bucket("/fapi/v1/fundingInfo") is FUNDING
    assert request_bucket("/futures/data/basis") is FUTURES_DATA
    assert request_bucket("/api/v3/klines") is None
    assert (FUNDING.requests, FUTURES_DATA.requests, FUNDING.window_s) == (500, 1000, 300)
