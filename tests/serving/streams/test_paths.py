"""The addresses of streams, as clients write them."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute
from mdcache.serving.streams.paths import is_topic, parse_stream_path

SPOT, USDM, COINM = Market.SPOT, Market.USDM, Market.COINM
BTC, EAST = "btcusdt@kline_1m", "btcusdt@kline_1d@+08:00"


@pytest.mark.parametrize(
    ("target", "market", "combined", "topics"),
    [
        ("/ws", SPOT, False, ()),
        ("/ws/", SPOT, False, ()),
        ("/ws/0", SPOT, False, ()),  # ccxt's number of the connection
        ("/ws/49", SPOT, False, ()),
        (f"/ws/{BTC}", SPOT, False, (BTC,)),
        (f"/ws/{BTC}/!miniTicker@arr", SPOT, False, (BTC, "!miniTicker@arr")),
        ("/ws/btcusdt%40kline_1m%2Fethusdt@trade", SPOT, False, (BTC, "ethusdt@trade")),
        ("/ws/btcusdt@kline_1d@+08:00", SPOT, False, (EAST,)),
        (f"/ws?streams={BTC}", SPOT, False, ()),
        ("/stream", SPOT, True, ()),
        ("/stream/", SPOT, True, ()),
        (f"/stream?streams={BTC}/ethusdt@trade/{BTC}", SPOT, True, (BTC, "ethusdt@trade")),
        ("/stream?timeUnit=millisecond&streams=btcusdt%40kline_1d%40%2B08%3A00", SPOT, True, (EAST,)),
        ("/stream?streams=btcusdt@kline_1d@+08:00", SPOT, True, (EAST,)),
        ("/stream?streams=", SPOT, True, ()),
        ("/stream/ws", SPOT, False, ()),
        ("/stream/ws/3", SPOT, False, ()),
        (f"/stream/ws/{BTC}", SPOT, False, (BTC,)),
        ("/usdm/ws", USDM, False, ()),
        (f"/usdm/stream?streams={BTC}", USDM, True, (BTC,)),
        ("/coinm/ws/0", COINM, False, ()),
        ("/coinm/market/stream?streams=btcusd_perp@kline_1m", COINM, True, ("btcusd_perp@kline_1m",)),
    ],
)  # fmt: skip
def test_addresses(target: str, market: Market, combined: bool, topics: tuple[str, ...]) -> None:
    path = parse_stream_path(target)
    assert path is not None
    assert (path.market, path.combined, path.topics) == (market, combined, topics)
    assert not path.keyed


@pytest.mark.parametrize("base", ["/usdm", ""])
@pytest.mark.parametrize("form", ["ws", "stream", "ws/1"])
def test_the_routes_of_usdm_also_for_clients_that_only_change_the_host(base: str, form: str) -> None:
    market, public, private = (parse_stream_path(f"{base}/{route}/{form}") for route in ("market", "public", "private"))
    assert market is not None
    assert public is not None
    assert private is not None
    assert {market.market, public.market, private.market} == {USDM}
    assert (market.route, public.route) == (StreamRoute.MARKET, StreamRoute.PUBLIC)
    assert (market.private, public.private, private.private) == (False, False, True)


@pytest.mark.parametrize(
    "target", ["/", "/wss", "/api/v3/klines", "/streams", "/usdm", "/eapi/ws", "/WS", "//ws", "/v1/stream"]
)
def test_other_paths(target: str) -> None:
    assert parse_stream_path(target) is None


KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


@pytest.mark.parametrize(
    "target",
    [f"/ws/{KEY}", f"/stream?streams={KEY}", f"/private/ws?listenKey={KEY}", f"/ws/{BTC}/{KEY}", "/ws?signature=1"],
)
def test_streams_of_accounts(target: str) -> None:
    path = parse_stream_path(target)
    assert path is not None
    assert path.keyed


def test_names_of_topics() -> None:
    assert all(
        map(is_topic, (BTC, "!ticker_1h@arr", "BTCUSDT@kline_1m", "币安人生usdt@trade", "btcusdt@kline_1d@+08:00"))
    )
    assert not any(map(is_topic, ("", "a b", 'a"b', "a\\b", "a\nb", "x" * 129)))
