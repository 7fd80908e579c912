"""What both of ccxt's clients are asked: (section, name, method, arguments)."""

from collections.abc import Iterator
from typing import Any

SPOT, USDM, COINM = "BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC"
NAMES = {"BTCUSDT": SPOT, "ETHUSDT": "ETH/USDT", "BNBUSDT": "BNB/USDT:USDT", "BTCUSD_PERP": COINM}


PUBLIC = ("public", "fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiData", "dapiPublic", "dapiData")


def urls(exchange: Any, base: str) -> dict[str, str]:
    """The addresses of the public interfaces on another host; the private ones stay with Binance."""
    return {name: base + "/" + exchange.urls["api"][name].split("/", 3)[3] for name in PUBLIC}


def pointed(exchange: Any, base: str) -> Any:
    """The exchange, asking `base` for public data."""
    exchange.urls["api"] |= urls(exchange, base)
    return exchange


def questions(ranges: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str, tuple[Any, ...]]]:
    """In the order in which they are asked."""
    yield "settled", "load_markets", "load_markets", ()
    for name, wanted in ranges.items():
        symbol, interval, start, end = NAMES[wanted["symbol"]], wanted["interval"], wanted["start"], wanted["end"]
        fetch = "fetch_ohlcv"
        yield "settled", f"{name}, a page", fetch, (symbol, interval, start, 500)
        yield "settled", f"{name}, until", fetch, (symbol, interval, start, 1000, {"until": end})
        yield "settled", f"{name}, paginate", fetch, (symbol, interval, start, None, {"until": end, "paginate": True})
    start = ranges["spot_hours"]["start"]
    for price in ("mark", "index", "premiumIndex"):
        yield "settled", f"usdm {price}", "fetch_ohlcv", (USDM, "1h", start, 300, {"price": price})
        yield "settled", f"coinm {price}", "fetch_ohlcv", (COINM, "1h", start, 300, {"price": price})
    yield "settled", "funding rates of then", "fetch_funding_rate_history", (USDM, start, 100)
    for name, symbol in {"spot": SPOT, "usdm": USDM, "coinm": COINM}.items():
        yield "open", f"{name} newest", "fetch_ohlcv", (symbol, "1h")
        yield "open", f"{name} newest 100", "fetch_ohlcv", (symbol, "4h", None, 100)
    yield "live", "time", "fetch_time", ()
    yield "live", "ticker", "fetch_ticker", (SPOT,)
    yield "live", "tickers", "fetch_tickers", ([SPOT, "ETH/USDT"],)
    yield "live", "all tickers", "fetch_tickers", ()
    yield "live", "best bids and asks", "fetch_bids_asks", ([SPOT, "ETH/USDT"],)
    yield "live", "last prices", "fetch_last_prices", ([SPOT, "ETH/USDT"],)
    yield "live", "order book", "fetch_order_book", (SPOT, 20)
    yield "live", "trades", "fetch_trades", (SPOT, None, 20)
    yield "live", "usdm ticker", "fetch_ticker", (USDM,)
    yield "live", "usdm order book", "fetch_order_book", (USDM, 20)
    yield "live", "usdm trades", "fetch_trades", (USDM, None, 20)
    yield "live", "funding rate", "fetch_funding_rate", (USDM,)
    yield "live", "funding rates", "fetch_funding_rates", ()
    yield "live", "funding rate history", "fetch_funding_rate_history", (USDM, None, 20)
    yield "live", "open interest", "fetch_open_interest", (USDM,)
    yield "live", "open interest history", "fetch_open_interest_history", (USDM, "1h", None, 20)
    yield "live", "long to short", "fetch_long_short_ratio_history", (USDM, "1h", None, 20)
    yield "live", "coinm ticker", "fetch_ticker", (COINM,)
    yield "live", "coinm order book", "fetch_order_book", (COINM, 20)
    yield "refused", "unknown symbol", "public_get_klines", ({"symbol": "NOPEUSDT", "interval": "1m"},)
    yield "refused", "bad interval", "fapiPublic_get_klines", ({"symbol": "BTCUSDT", "interval": "7m"},)
    yield "refused", "unknown market", "fetch_ohlcv", ("NOPE/USDT", "1m")
