"""The listeners of a soak: over WebSockets, which may miss frames between connections, and to events, which may not."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from bench.soak.record import Record
from bench.soak.truth import Checker, Claim
from mdcache.exchange.markets import Market

INTERVAL = "1m"
MINUTE_MS = 60_000
_PREFIXES = {Market.SPOT: "", Market.USDM: "/usdm/market"}
_SILENT_S = 60.0  # after which a client gives a connection up
_AGAIN_S = 1.0
_FIELDS = "tohlcvTqnVQ"  # of a candle's frame, in the order of a row


class Heard:
    """What came since it was last taken, and the listeners that are connected."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.connected = 0

    def take(self) -> dict[str, int]:
        counts, self.counts = self.counts, Counter()
        return dict(counts)


class FrameHearer:
    """A client of one connection with the candles of some symbols, which connects again whenever it ends."""

    def __init__(
        self, url: str, market: Market, symbols: Sequence[str], record: Record, checker: Checker, heard: Heard
    ) -> None:
        topics = "/".join(f"{symbol.lower()}@kline_{INTERVAL}" for symbol in symbols)
        self._url = f"ws://{urlsplit(url).netloc}{_PREFIXES[market]}/stream?streams={topics}"
        self._market = market
        self._record = record
        self._checker = checker
        self._heard = heard

    async def run(self) -> None:
        while True:
            try:
                async with connect(self._url, proxy=None, open_timeout=10.0, ping_interval=None) as listener:
                    self._heard.connected += 1
                    try:
                        await self._listen(listener)
                    finally:
                        self._heard.connected -= 1
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
                self._heard.counts["ended"] += 1
                self._record.add("ended", who="frames", market=self._market, why=str(error)[:120])
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, listener: ClientConnection) -> None:
        seen: dict[str, tuple[int, int]] = {}  # event time and open time of each topic's last frame
        finals: dict[str, int] = {}
        while True:
            frame = json.loads(await asyncio.wait_for(listener.recv(), _SILENT_S))
            if "data" not in frame:
                continue
            topic, data = frame["stream"], frame["data"]
            candle, at = data["k"], (int(data["E"]), int(data["k"]["t"]))
            self._heard.counts["frames"] += 1
            before = seen.get(topic)
            # a final frame may come among those of the next candle: always on futures, and where it was mended
            if before is None or at[1] >= before[1] or not candle["x"]:
                if before is not None and (at[0] < before[0] or at[1] < before[1]):
                    self._wrong("order", f"{topic}: {at} after {before}")
                seen[topic] = at
            if not candle["x"]:
                continue
            self._heard.counts["finals"] += 1
            opened = finals.get(topic)
            if opened is not None and at[1] != opened + MINUTE_MS:
                if at[1] <= opened:
                    self._wrong("order", f"{topic}: a final frame of {at[1]} after that of {opened}")
                else:
                    self._heard.counts["lost finals"] += (at[1] - opened) // MINUTE_MS - 1
                    self._record.add("gap", topic=topic, after=opened, next=at[1])
            finals[topic] = at[1]
            query = f"symbol={candle['s']}&interval={INTERVAL}&startTime={at[1]}&endTime={at[1]}"
            row = [candle[field] for field in _FIELDS]
            self._checker.take(Claim(self._market, query, int(candle["T"]) + 1, [row], exact=True))

    def _wrong(self, what: str, text: str) -> None:
        self._record.add("wrong", what=what, text=text)


class EventHearer:
    """A client of `/v1/stream` that goes on where it was: each candle that closes has to come once."""

    def __init__(self, url: str, symbols: Sequence[str], record: Record, checker: Checker, heard: Heard) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(15.0, read=_SILENT_S), trust_env=False)
        self._target = f"/v1/stream?market=spot&symbols={','.join(symbols)}&intervals={INTERVAL}"
        self._record = record
        self._checker = checker
        self._heard = heard
        self._position = ""
        self._closed: dict[str, int] = {}  # open time of each symbol's last closed candle

    async def run(self) -> None:
        while True:
            headers = {"Last-Event-ID": self._position} if self._position else {}
            try:
                async with self._client.stream("GET", self._target, headers=headers) as events:
                    if events.status_code == httpx.codes.OK:
                        self._heard.connected += 1
                        try:
                            await self._listen(events)
                        finally:
                            self._heard.connected -= 1
                    why = f"{events.status_code} {events.headers.get('retry-after', '')}"
            except httpx.TransportError as error:
                why = repr(error)
            self._heard.counts["ended"] += 1
            self._record.add("ended", who="events", market=Market.SPOT, why=why[:120])
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self, events: httpx.Response) -> None:
        name = ""
        async for line in events.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
                self._heard.counts[f"event {name}"] += 1
            elif field == "id":
                self._position = value
            elif field == "data" and name in {"closed", "revised"}:
                self._take(name, json.loads(value))

    def _take(self, name: str, data: dict[str, object]) -> None:
        symbol, row = str(data["symbol"]), data["row"]
        assert isinstance(row, list)
        opened, before = row[0], self._closed.get(symbol)
        if name == "closed":
            if before is not None and opened != before + MINUTE_MS:
                self._record.add("wrong", what="events", text=f"{symbol}: {opened} closed after {before}")
            self._closed[symbol] = opened
        query = f"symbol={symbol}&interval={INTERVAL}&startTime={opened}&endTime={opened}"
        self._checker.take(Claim(Market.SPOT, query, row[6] + 1, [row], exact=True))
