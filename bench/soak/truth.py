"""What answers of a soak are checked against: the simulated exchange's own rows at the answer's as-of."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any

import httpx

from bench.soak.record import Record
from mdcache.exchange.markets import Market

PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines"}
READ_MS = (0, 50)  # so long after its as-of a reply may have been made
LATE_MS = 50  # so long before its as-of an answer's candle may still have moved
CLOCK_MS = 300  # by so much a daemon's clock may be off
COLUMNS = 11  # that all forms of a row have
_CLOSE_TIME = 6
_WAITING = 300
_PAUSE_S = 1.0

Row = list[Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows that somebody was sent, and as of when; `exact`: without an allowance for the open candle."""

    market: Market
    query: str
    as_of_ms: int
    rows: list[Row]
    exact: bool = False


def is_right(claim: Claim, truth: list[Row]) -> bool:
    """Whether the rows are the exchange's, but for a candle that was open: it moves while it is read."""
    rows, true_rows = ([row[:COLUMNS] for row in each] for each in (claim.rows, truth))
    if rows == true_rows:
        return True
    if claim.exact or [row[0] for row in rows] != [row[0] for row in true_rows]:
        return False
    closed_ms = claim.as_of_ms - LATE_MS
    return all(row == true for row, true in zip(rows, true_rows, strict=True) if true[_CLOSE_TIME] < closed_ms)


class Checker:
    """Checks a sample of what consumers were sent, whenever the exchange answers."""

    def __init__(self, exchange: str, record: Record, every: int) -> None:
        self.checked = self.same = 0  # since they were last read; `same`: also the open candle
        self._record = record
        self._every = every
        self._draw = random.Random(3)
        self._client = httpx.AsyncClient(base_url=exchange, timeout=60.0, trust_env=False)
        self._claims: asyncio.Queue[Claim] = asyncio.Queue(_WAITING)

    def wants(self) -> bool:
        """Whether the next answer is one of the sample."""
        return self._draw.randrange(self._every) == 0 and not self._claims.full()

    def take(self, claim: Claim) -> None:
        """Check it later; if too many wait, never."""
        if not self._claims.full():
            self._claims.put_nowait(claim)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            claim = await self._claims.get()
            wrong = ""
            for off_ms in READ_MS:
                truth = await self._truth(claim, off_ms)
                if is_right(claim, truth):
                    self.same += [row[:COLUMNS] for row in claim.rows] == [row[:COLUMNS] for row in truth]
                    break
                wrong = next(
                    (f"{row} for {true}" for row, true in zip(claim.rows, truth, strict=False)
                     if row[:COLUMNS] != true[:COLUMNS]),
                    f"{len(claim.rows)} rows for {len(truth)}",
                )  # fmt: skip
            else:
                text = f"{claim.market} {claim.query} as of {claim.as_of_ms}: {wrong}"
                self._record.add("wrong", what="bytes", text=text)
            self.checked += 1

    async def _truth(self, claim: Claim, off_ms: int) -> list[Row]:
        asked = {"path": PATHS[claim.market], "query": claim.query, "at_ms": str(claim.as_of_ms + off_ms)}
        while True:
            try:
                reply = await self._client.get("/_sim/truth", params=asked)
            except httpx.TransportError:  # it is stopped
                await asyncio.sleep(_PAUSE_S)
                continue
            found: list[Row] = json.loads(reply.raise_for_status().content)
            return found
