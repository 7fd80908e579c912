"""Questions to `/v1/candles` of a daemon before a simulated exchange with plenty of weight."""

import json
from typing import Any

from mdcache.sim import SimConfig
from tests.support.asgi_client import Response
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
PATH = "/v1/candles"
PREFIX = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
TWO = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m,1h"
MINUTE = 60_000


def world(**options: Any) -> ServedDaemon:
    w = ServedDaemon(PLENTY, DaemonOptions(**options))
    w.exchange.control.latency(before_s=0.03, after_s=0.03)
    return w


async def get(w: ServedDaemon, query: str, path: str = PATH, **headers: str) -> Response:
    return await w.get(path, query.encode(), **headers)


async def series(w: ServedDaemon, query: str, **headers: str) -> list[dict[str, Any]]:
    reply = await get(w, query, **headers)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = json.loads(reply.body)["series"]
    return found


def truth(w: ServedDaemon, market: str, symbol: str, interval: str, as_of_ms: int, rest: str) -> list[list[Any]]:
    """What Binance sends at a moment, as the native API prints it."""
    path = f"{PREFIX[market]}klines"
    sent = w.exchange.truth(path, f"symbol={symbol}&interval={interval}&{rest}", {}, at_ms=as_of_ms)
    return [[*row[:11], row[6] < as_of_ms] for row in json.loads(sent)]
