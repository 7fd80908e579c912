"""The consumers of a soak that ask: 500 candles of each series, one by one or all in one question, every 5 s."""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from bench.soak.record import Record
from bench.soak.truth import CLOCK_MS, PATHS, Checker, Claim
from mdcache.exchange.markets import Market
from mdcache.settings import Settings

EVERY_S = 5.0
LIMIT = 500
CLIENT_TIMEOUT_S = 40.0
_DEADLINE_S = 8.0 + 1.5  # the daemon's, with 1.5 s for a busy machine
STREAM_TTL_S = 2.6  # docs/design.md#stream-fed: 1.25 times the cadence of spot's frames and 0.1 s
_OK, _NO_ANSWER = 200, 0
_CLOSE_TIME = 6
_TTLS = Settings()

Series = tuple[Market, str, str]  # market, symbol, interval


@dataclass(slots=True)
class Tally:
    """What came since it was last taken."""

    statuses: Counter[int] = field(default_factory=Counter)
    fresh: int = 0
    marked: int = 0
    fresh_age_s: float = 0.0
    marked_age_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    late_s: float = 0.0


class Askers:
    """All of them; `tally` may be replaced by a new one at any time."""

    def __init__(self, url: str, series: Sequence[Series], record: Record, checker: Checker) -> None:
        self.tally = Tally()
        self._series = list(series)
        self._record = record
        self._checker = checker
        limits = httpx.Limits(max_connections=64)
        self._client = httpx.AsyncClient(base_url=url, timeout=CLIENT_TIMEOUT_S, trust_env=False, limits=limits)

    async def run_one_by_one(self) -> None:
        """Ask for each series in Binance's form."""
        async with asyncio.TaskGroup() as group:
            while True:
                began_s = time.monotonic()
                for place, each in enumerate(self._series):
                    due_s = began_s + place * EVERY_S / len(self._series)
                    await asyncio.sleep(due_s - time.monotonic())
                    self.tally.late_s = max(self.tally.late_s, time.monotonic() - due_s)
                    group.create_task(self._ask(each))
                await asyncio.sleep(began_s + EVERY_S - time.monotonic())

    async def run_at_once(self, series: Sequence[Series]) -> None:
        """Ask for the series of one market and interval in one question of the native API."""
        market, _, interval = series[0]
        symbols = ",".join(symbol for _, symbol, _ in series)
        target = f"/v1/candles?market={market}&symbols={symbols}&intervals={interval}&limit={LIMIT}"
        while True:
            began_s = time.monotonic()
            reply, sent_ms, _ = await self._get(target)
            if reply is not None:
                for found in json.loads(reply.content)["series"]:
                    self._judge_native(found, market, sent_ms)
            await asyncio.sleep(max(0.0, began_s + EVERY_S - time.monotonic()))

    async def _get(self, target: str) -> tuple[httpx.Response | None, float, float]:
        """Return a 200, or none; and when it was asked, and how long it took."""
        sent_s, began_s = time.time(), time.monotonic()
        try:
            reply = await self._client.get(target)
            status, text = reply.status_code, reply.text[:200] if reply.status_code != _OK else ""
        except httpx.TransportError as error:
            reply, status, text = None, _NO_ANSWER, repr(error)
        took_s = time.monotonic() - began_s
        self.tally.statuses[status] += 1
        self.tally.took_s.append(took_s)
        if status != _OK:
            self._record.add("refusal", sent_s=round(sent_s, 3), status=status, target=target[:120], text=text)
            return None, 1000 * sent_s, took_s
        return reply, 1000 * sent_s, took_s

    async def _ask(self, series: Series) -> None:
        market, symbol, interval = series
        query = f"symbol={symbol}&interval={interval}&limit={LIMIT}"
        reply, sent_ms, took_s = await self._get(f"{PATHS[market]}?{query}")
        if reply is None:
            return
        as_of_ms, marked = int(reply.headers["x-mdcache-as-of"]), "detail=stale" in reply.headers["cache-status"]
        last = json.loads(b"[" + reply.content.rpartition(b"[")[2][:-1])
        made_ms = sent_ms + 1000 * max(0.0, took_s - _DEADLINE_S)  # at the earliest
        self._judge_age(series, as_of_ms, last[_CLOSE_TIME], made_ms, marked=marked)
        if self._checker.wants():
            self._checker.take(Claim(market, query, as_of_ms, json.loads(reply.content)))

    def _judge_native(self, found: dict[str, object], market: Market, sent_ms: float) -> None:
        rows, as_of_ms = found.get("rows"), found.get("as_of")
        symbol, interval = str(found["symbol"]), str(found["interval"])
        if not isinstance(rows, list) or not isinstance(as_of_ms, int):
            text, sent_s = str(found.get("error"))[:200], round(sent_ms / 1000, 3)
            self._record.add("refusal", sent_s=sent_s, status=503, target=f"/v1/candles {symbol}", text=text)
            return
        marked, last = bool(found["stale"]), rows[-1]
        # a series that was at hand waits for the others, and may be older than its TTL once they are there
        self._judge_age((market, symbol, interval), as_of_ms, last[_CLOSE_TIME], sent_ms, marked=marked)
        if self._checker.wants():
            query = f"symbol={symbol}&interval={interval}&limit={LIMIT}"
            self._checker.take(Claim(market, query, as_of_ms, rows))

    def _judge_age(self, series: Series, as_of_ms: int, close_ms: int, made_ms: float, *, marked: bool) -> None:
        """Judge whether it was too old when it was made; its last candle closes at `close_ms`."""
        age_ms = made_ms - as_of_ms
        ttl_s = _TTLS.max_stale_s if marked else max(_TTLS.candle_ttl_s(series[2]), STREAM_TTL_S)
        open_until_ms = close_ms if as_of_ms < close_ms else math.inf  # one that is shown closed may stay the newest
        tally = self.tally
        if marked:
            tally.marked += 1
            tally.marked_age_s = max(tally.marked_age_s, age_ms / 1000)
        else:
            tally.fresh += 1
            tally.fresh_age_s = max(tally.fresh_age_s, age_ms / 1000)
        name = "/".join(series)
        for over_ms, what in (
            (age_ms - 1000 * ttl_s, f"older than {ttl_s:g} s, {marked=}"),
            (made_ms - open_until_ms, "past its close"),
        ):
            if over_ms > CLOCK_MS:
                text = f"{name}: {what}, by {over_ms:.0f} ms"
                self._record.add(
                    "wrong", what="age", text=text, over_ms=round(over_ms), made_s=round(made_ms / 1000, 3)
                )
