"""Seconds of futures that are kept: which frames, how many, and of how many contracts."""

import json

import pytest

from mdcache.exchange.markets import Market
from mdcache.relay.kept_seconds import CONTRACTS, SECONDS, KeptSeconds

TOPIC = "btcusdt_perpetual@continuousKline_1s"


def frame(open_ms: int, **more: object) -> bytes:
    candle = {"t": open_ms, "T": open_ms + 999, "n": 3, "x": True} | dict.fromkeys("ohlcvqVQ", "1.50") | more
    return json.dumps({"e": "continuous_kline", "k": candle}).encode()


def test_the_newest_hour_of_a_contract_is_kept() -> None:
    kept = KeptSeconds()
    for n in range(SECONDS + 5):
        kept.note(Market.USDM, TOPIC, frame(n * 1_000, c=f"{n}.0"))
    assert kept.find(Market.USDM, "BTCUSDT", 4_999) is None
    assert (second := kept.find(Market.USDM, "BTCUSDT", 5_000)) is not None
    assert second.price == b'"5.0"'
    assert json.loads(second.row)[:5] == [5_000, "1.50", "1.50", "1.50", "5.0"]
    assert kept.find(Market.USDM, "BTCUSDT", (SECONDS + 5) * 1_000) is None
    assert kept.find(Market.COINM, "BTCUSDT_PERP", 5_000) is None


def test_of_many_contracts_those_heard_last_are_kept() -> None:
    kept = KeptSeconds()
    for n in range(CONTRACTS + 1):
        kept.note(Market.COINM, f"c{n}_perpetual@continuousKline_1s", frame(0))
    assert kept.find(Market.COINM, "C0_PERP", 0) is None
    assert kept.find(Market.COINM, f"C{CONTRACTS}_PERP", 999) is not None


@pytest.mark.parametrize(
    ("market", "topic", "data"),
    [
        (Market.SPOT, TOPIC, frame(0)),
        (Market.USDM, "btcusdt@kline_1m", frame(0)),
        (Market.USDM, "btcusdt_current_quarter@continuousKline_1s", frame(0)),
        (Market.USDM, TOPIC, frame(1)),
        (Market.USDM, TOPIC, frame(0, T=59_999)),
        (Market.USDM, TOPIC, b"{}"),
        (Market.USDM, TOPIC, b"\xff"),
    ],
)
def test_nothing_else_is_kept(market: Market, topic: str, data: bytes) -> None:
    kept = KeptSeconds()
    kept.note(market, topic, data)
    assert kept.find(market, "BTCUSDT", 0) is None
