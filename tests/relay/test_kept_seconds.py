"""Seconds of futures that are kept: which frames, how many, and of how many contracts."""

import json

import pytest

from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.markets import Market
from mdcache.relay.kept_seconds import CONTRACTS, SECONDS, KeptSeconds

TOPIC = "btcusdt_perpetual@continuousKline_1s"


def frame(open_ms: int, pair: str = "BTCUSDT", event_ms: int | None = None, **more: object) -> bytes:
    candle = {"t": open_ms, "T": open_ms + 999, "i": "1s", "n": 3, "x": True}
    candle |= dict.fromkeys("ohlc", "1.50") | dict.fromkeys("vqVQ", "2.000") | more
    named = {"e": "continuous_kline", "E": open_ms + 1_000 if event_ms is None else event_ms}
    return json.dumps(named | {"ps": pair, "ct": "PERPETUAL", "k": candle}).encode()


def test_the_newest_hour_of_a_contract_is_kept() -> None:
    kept = KeptSeconds()
    for n in range(SECONDS + 5):
        kept.note(Market.USDM, TOPIC, frame(n * 1_000, v=f"{n}.000"))
    assert kept.find(Market.USDM, "BTCUSDT", 4_999) is None
    assert (second := kept.find(Market.USDM, "BTCUSDT", 5_000)) is not None
    assert json.loads(second.raw)[:6] == [5_000, "1.50", "1.50", "1.50", "1.50", "5.000"]
    assert kept.find(Market.USDM, "BTCUSDT", (SECONDS + 5) * 1_000) is None
    assert kept.find(Market.COINM, "BTCUSDT_PERP", 5_000) is None


def test_of_many_contracts_those_heard_last_are_kept() -> None:
    kept = KeptSeconds()
    for n in range(CONTRACTS + 1):
        kept.note(Market.COINM, f"c{n}_perpetual@continuousKline_1s", frame(0, f"C{n}"))
    assert kept.find(Market.COINM, "C0_PERP", 0) is None
    assert kept.find(Market.COINM, f"C{CONTRACTS}_PERP", 999) is not None


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (SeriesFilter(), ""),
        (SeriesFilter(Market.USDM), "c"),
        (SeriesFilter(Market.COINM), "ue"),
        (SeriesFilter(subject="BTCUSDT"), "ec"),
        (SeriesFilter(subject="BTCUSD_PERP"), "ue"),
        (SeriesFilter(Market.COINM, "BTCUSD"), "ue"),
        (SeriesFilter(interval="1s"), ""),
        (SeriesFilter(interval="1m"), "uec"),
    ],
)
async def test_a_purge_forgets_those_of_its_series(which: SeriesFilter, left: str) -> None:
    kept = KeptSeconds()
    kept.note(Market.USDM, TOPIC, frame(0))
    kept.note(Market.USDM, TOPIC.replace("btc", "eth"), frame(0, "ETHUSDT"))
    kept.note(Market.COINM, TOPIC.replace("usdt", "usd"), frame(0, "BTCUSD"))
    await kept.clear(which)
    contracts = {"u": (Market.USDM, "BTCUSDT"), "e": (Market.USDM, "ETHUSDT"), "c": (Market.COINM, "BTCUSD_PERP")}
    assert [name for name, contract in contracts.items() if kept.find(*contract, 0) is not None] == list(left)


@pytest.mark.parametrize(
    ("market", "topic", "data"),
    [
        (Market.SPOT, TOPIC, frame(0)),
        (Market.USDM, "btcusdt@kline_1m", frame(0)),
        (Market.USDM, "btcusdt_current_quarter@continuousKline_1s", frame(0)),
        (Market.USDM, TOPIC, frame(1)),
        (Market.USDM, TOPIC, frame(0, T=59_999)),
        (Market.USDM, TOPIC, frame(0, "ETHUSDT")),
        (Market.USDM, TOPIC, frame(0, x=False)),
        (Market.USDM, TOPIC, frame(0, event_ms=500)),
        (Market.USDM, TOPIC, frame(0, h="1.40")),
        (Market.USDM, TOPIC, frame(0, c="a lot")),
        (Market.USDM, TOPIC, b"{}"),
        (Market.USDM, TOPIC, b"\xff"),
    ],
)
def test_nothing_else_is_kept(market: Market, topic: str, data: bytes) -> None:
    kept = KeptSeconds()
    kept.note(market, topic, data)
    assert kept.find(market, "BTCUSDT", 0) is None
