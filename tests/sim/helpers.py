"""What the simulator's tests share: a small world, a clock to turn, and a merge written anew."""

import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from mdcache.sim import Exchange, ExchangeReply, Outage, SimConfig, SymbolSpec

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
T0 = 1_700_006_400_000  # 2023-11-15 00:00 UTC, a Wednesday
LISTED = T0 - 40 * DAY + 5 * HOUR + 17 * MINUTE + 3_250  # 2023-10-06 05:17:03.250
GAP = Outage(T0 - 2 * DAY + 10 * HOUR + 123_456, T0 - 2 * DAY + 12 * HOUR)
FILLED = Outage(T0 - DAY + 3 * HOUR, T0 - DAY + 3 * HOUR + 30 * MINUTE, filled_ms=T0 + 6 * HOUR)

BUSY = SymbolSpec("spot", "BTCUSDT", LISTED, price="20000", quantity_decimals=5, trades_per_day=1_000_000,
                  outages=(GAP, FILLED))  # fmt: skip
QUIET = SymbolSpec("spot", "QUIETUSDT", LISTED, trades_per_day=700, price="1.5", price_decimals=4)
HALTED = SymbolSpec("spot", "OLDUSDT", LISTED, halted_ms=T0 - 20 * DAY + 90_500, status="BREAK")
GONE = SymbolSpec("spot", "GONEUSDT", LISTED, halted_ms=T0 - 9 * DAY, delisted_ms=T0 - 5 * DAY)
RECENT = SymbolSpec("spot", "NEWUSDT", T0 + HOUR, announced_ms=T0 - DAY)
CHINESE = SymbolSpec("spot", "币安人生USDT", LISTED)
PERP = SymbolSpec("usdm", "BTCUSDT", LISTED, pair="BTCUSDT", contract_type="PERPETUAL", price="20000",
                  price_decimals=1, printed_decimals=2, trades_per_day=2_000_000)  # fmt: skip
COIN = SymbolSpec("coinm", "BTCUSD_PERP", T0 - 900 * DAY, pair="BTCUSD", contract_type="PERPETUAL", price="20000",
                  price_decimals=1, quantity_decimals=0, contract_size=100, trades_per_day=200_000)  # fmt: skip
QUARTER = replace(PERP, symbol="BTCUSDT_231229", contract_type="CURRENT_QUARTER", delivery_ms=T0 + 44 * DAY)
WORLD = (BUSY, QUIET, HALTED, GONE, RECENT, CHINESE, PERP, QUARTER, COIN)


@dataclass
class Sim:
    """An exchange over the small world and its clock."""

    now: int = T0 + 7 * HOUR + 12_345
    config: SimConfig = field(default_factory=lambda: SimConfig(symbols=WORLD))

    def __post_init__(self) -> None:
        self.exchange = Exchange(self.config, now_ms=lambda: self.now)
        self.control = self.exchange.control

    def get(self, path: str, query: str = "", client: str = "127.0.0.1", **headers: str) -> ExchangeReply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.exchange.respond("GET", path, query, named, client)

    def rows(self, query: str, path: str = "/api/v3/klines") -> list[list[Any]]:
        reply = self.get(path, query, client="rows")
        assert reply.status == 200, reply.body
        self.exchange._meter.reset()
        rows: list[list[Any]] = json.loads(reply.body)
        return rows

    def answer(self, path: str, query: str = "", **headers: str) -> Any:
        """The answer to a query that is not refused, however often it is asked."""
        reply = self.get(path, query, client="answers", **headers)
        assert reply.status == 200, reply.body
        self.exchange._meter.reset()
        return json.loads(reply.body)

    def error(self, path: str, query: str = "", **headers: str) -> tuple[int, int, str]:
        reply = self.get(path, query, **headers)
        body = json.loads(reply.body)
        assert set(body) == {"code", "msg"}
        return reply.status, body["code"], body["msg"]

    def parts(self, symbol: str, interval: str, start: int, end: int, path: str = "/api/v3/klines") -> list[list[Any]]:
        """All rows with open times in [start, end)."""
        found: list[list[Any]] = []
        while start < end:
            page = self.rows(
                f"symbol={symbol}&interval={interval}&startTime={start}&endTime={end - 1}&limit=1000", path
            )
            found += page
            if len(page) < 1000:
                break
            start = page[-1][0] + 1
        return found


def merged(parts: list[list[Any]]) -> list[Any]:
    """Prices, volumes and trades of a candle from its parts; parts without trades lend nothing."""
    live = [row for row in parts if row[8]]
    if not live:
        return [*parts[-1][1:5], *parts[-1][5:6], *parts[-1][7:11]]

    def total(column: int) -> str:
        return f"{sum(Decimal(row[column]) for row in live):f}"

    high, low = max((row[2] for row in live), key=Decimal), min((row[3] for row in live), key=Decimal)
    return [
        live[0][1],
        high,
        low,
        live[-1][4],
        total(5),
        total(7),
        sum(row[8] for row in live),
        total(9),
        total(10),
    ]


def content(row: list[Any]) -> list[Any]:
    """A row without its times and its last column."""
    return [*row[1:6], *row[7:11]]


def header(reply: ExchangeReply, name: str) -> str | None:
    return next((value for key, value in reply.headers if key.lower() == name), None)
