"""A close: how long after the exchange's final frame the first answer shows the closed candle as it ended.

A client of its own listens to the exchange's streams, others ask the daemon for the last two candles, often while a
minute ends. Where the daemon reads the row before the frame comes, as on futures, the time is negative.
"""

import asyncio
import json
import time
from collections import defaultdict
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import connect

from bench.figures import spread
from mdcache.replay.processes import daemon, sim, stream_settings

_MINUTE_MS = 60_000
_SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
_KLINES = {"spot": "/api/v3/klines", "usdm": "/fapi/v1/klines"}
_STREAMS = {"spot": "/stream", "usdm": "/usdm/market/stream"}
_POLL_S = 0.05
_BEFORE_S, _AFTER_S = 8.0, 8.0  # how long around a close is asked

Key = tuple[str, str, int]  # market, symbol, open time
Ended = tuple[str, str, int]  # close price, volume, trades


class Closes:
    """What was seen of the closes: the final frames, and when answers showed which row."""

    def __init__(self) -> None:
        self.finals: dict[Key, tuple[float, Ended]] = {}
        self.shown: defaultdict[Key, dict[Ended, float]] = defaultdict(dict)  # when each state was first shown

    async def listen(self, exchange: str, market: str) -> None:
        """Record the final frames of a market, until cancelled."""
        topics = "/".join(f"{symbol.lower()}@kline_1m" for symbol in _SYMBOLS)
        url = f"ws://{urlsplit(exchange).netloc}{_STREAMS[market]}?streams={topics}"
        async with connect(url, proxy=None) as connection:
            async for message in connection:
                candle = json.loads(message)["data"]["k"]
                if candle["x"]:
                    ended = candle["c"], candle["v"], candle["n"]
                    self.finals[market, candle["s"], candle["t"]] = time.time(), ended

    async def ask(self, client: httpx.AsyncClient, market: str, symbol: str, closes: int) -> None:
        """Ask for a symbol's last candles: often around each close, each second else."""
        end_s = (int(time.time()) // 60 + closes) * 60 + _AFTER_S
        if 60 - time.time() % 60 < _BEFORE_S:  # streams need some seconds before the first close
            end_s += 60
        query = {"symbol": symbol, "interval": "1m", "limit": "2"}
        while time.time() < end_s:
            rows = (await client.get(_KLINES[market], params=query)).raise_for_status().json()
            for row in rows:
                self.shown[market, symbol, row[0]].setdefault((row[4], row[5], row[8]), time.time())
            second = time.time() % 60
            await asyncio.sleep(_POLL_S if second < _AFTER_S or second > 59 else 1.0)

    def late_ms(self, market: str) -> tuple[list[float], int]:
        """Return how long after each final frame an answer showed it, and how many were never shown."""
        late, never = [], 0
        for key, (at_s, ended) in self.finals.items():
            if key[0] != market or key not in self.shown:
                continue
            shown_s = self.shown[key].get(ended)
            if shown_s is None:
                never += 1
            else:
                late.append(1000 * (shown_s - at_s))
        return late, never


async def _watch(exchange: str, url: str, closes: int) -> Closes:
    seen = Closes()
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=url, timeout=15.0, trust_env=False, limits=limits) as client:
        listening = [asyncio.create_task(seen.listen(exchange, market)) for market in _KLINES]
        await asyncio.gather(*(seen.ask(client, market, each, closes) for market in _KLINES for each in _SYMBOLS))
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
    return seen


def report_closes(closes: int) -> None:
    """Print how soon closes are shown, over so many of them."""
    with sim() as exchange, daemon(exchange, **stream_settings(exchange)) as (url, _):
        seen = asyncio.run(_watch(exchange, url, closes))
    print(f"closes: from the exchange's final frame to the first answer that shows it (asked each {_POLL_S:g} s)")
    for market in _KLINES:
        late, never = seen.late_ms(market)
        print(f"  {market:<11}  {spread(late, 'ms')}; {len(late)} of {len(late) + never} shown so")
