"""A client of mdcache, which refuses stale data; it imports httpx and the standard library only.

with Client() as daemon:
    for candle in daemon.changed("spot", ["BTCUSDT"], ["1m"]):
        rows = daemon.candles("spot", ["BTCUSDT"], ["1m"], limit=200, closed=True, max_age_s=5).rows
"""

from mdcache.client.candles import Candle, Candles, Event, Price, Series
from mdcache.client.client import AsyncClient, Client
from mdcache.client.errors import ClientError, Refused, StaleData, Unavailable

__all__ = [
    "AsyncClient",
    "Candle",
    "Candles",
    "Client",
    "ClientError",
    "Event",
    "Price",
    "Refused",
    "Series",
    "StaleData",
    "Unavailable",
]
