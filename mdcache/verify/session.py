"""What the measurements of one market share: questions, time, symbols, closes, and recorded frames.

All ask for the most traded symbol, unless they need another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from mdcache.errors import InvalidBody
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family, KlineEndpoint, Market, Subject
from mdcache.exchange.rate_limits import weight_limit
from mdcache.exchange.symbols import MarketSymbols, read_symbols
from mdcache.exchange.weights import EXCHANGE_INFO, TIME, klines_weight
from mdcache.verify.exchange_time import MINUTE_MS, MeasuredTime
from mdcache.verify.findings import NotMeasured
from mdcache.verify.listening import Recording, StreamListener
from mdcache.verify.questions import Questions
from mdcache.verify.reply_seen import ReplySeen

SYMBOLS = {Market.SPOT: "BTCUSDT", Market.USDM: "BTCUSDT", Market.COINM: "BTCUSD_PERP"}
_SETTLED_AFTER_MS = 10 * MINUTE_MS  # candles that closed so long ago do not change any more


@dataclass(frozen=True, slots=True)
class ClosePoll:
    """One read of the candle that closed at `close_ms`: `row` as it was `after_ms` later, at the latest.

    `late_ms`: by how much that is later than it was meant to be sent.
    """

    close_ms: int
    after_ms: float
    late_ms: float
    row: tuple[Any, ...] | None


@dataclass
class MarketSession:
    """One market in one run.

    `chosen_protocol`: finds out which HTTP protocol its host chooses. `listener`: `None` if no stream base is set.
    """

    market: Market
    questions: Questions
    chosen_protocol: Callable[[], Awaitable[str]]
    listener: StreamListener | None = None
    closes_ms: tuple[int, ...] = ()
    polls: list[ClosePoll] = field(default_factory=list)
    quiet: list[str] = field(default_factory=list)  # hardly traded symbols whose topics are recorded
    quiet_since_ms: int | None = None
    said: dict[str, str] = field(default_factory=dict)  # answers to questions with one fault, by fault
    _symbols: "asyncio.Task[MarketSymbols] | None" = None
    _quiet_rows: list[list[Any]] | None = None

    @property
    def symbol(self) -> str:
        """The symbol that is asked for."""
        return SYMBOLS[self.market]

    @property
    def pair(self) -> str:
        """Its pair (futures)."""
        return self.symbol.partition("_")[0]

    @property
    def quote(self) -> str:
        """How the names of all symbols with its quote asset end."""
        return "_PERP" if self.market is Market.COINM else "USDT"

    @property
    def time(self) -> MeasuredTime:
        """The exchange's time."""
        return self.questions.time

    @property
    def settled_ms(self) -> int:
        """A full minute long enough ago that no candle before it changes."""
        return int(self.time.now_ms() - _SETTLED_AFTER_MS) // MINUTE_MS * MINUTE_MS

    @property
    def symbols_known(self) -> bool:
        """Whether the symbols were read."""
        return self._symbols is not None and self._symbols.done() and self._symbols.exception() is None

    @property
    def is_lost(self) -> bool:
        """Whether no more answers or frames will come."""
        no_frames = self.listener is None or bool(self.listener.recording.ended)
        return no_frames and self.questions.is_lost(self.market)

    @property
    def recording(self) -> Recording:
        """What the streams sent; raise `NotMeasured` if that is nothing."""
        if self.listener is None:
            raise NotMeasured("streams are off, or no stream base is set for this upstream")
        self.listener.recording.need()
        return self.listener.recording

    def endpoint(self, kind: str = "klines") -> KlineEndpoint:
        """Return the rules of one of the market's kline paths."""
        return KLINE_ENDPOINTS[f"{self.market.prefix}{kind}"]

    async def get_time(self, *, extra: bool = False) -> ReplySeen:
        """Ask for the exchange's time, and adopt it."""
        reply = await self.questions.ask(self.market, f"{self.market.prefix}time", weight=TIME, extra=extra)
        stated = reply.json()
        if not isinstance(stated, dict) or not isinstance(stated.get("serverTime"), int):
            raise NotMeasured("the answer has no serverTime")
        self.time.measured(stated["serverTime"], reply.sent_s, reply.received_s)
        return reply

    async def ask_other(self, other: Market | None, *, extra: bool = False) -> ReplySeen:
        """Ask another host of the family for the time: of that market, or spot's second host."""
        path = f"{(other or self.market).prefix}time"
        if other is not None:
            return await self.questions.ask(other, path, weight=TIME, extra=extra)
        return await self.questions.ask(self.market, path, weight=TIME, extra=extra, second_host=True)

    async def symbols(self) -> MarketSymbols:
        """Return the market's symbols, which are read once."""
        if self._symbols is None:
            self._symbols = asyncio.create_task(self._read_symbols())
        return await asyncio.shield(self._symbols)

    async def quiet_rows(self) -> list[list[Any]]:
        """Return the newest half hour of the quietest symbol, as it was when it was first asked for."""
        if self._quiet_rows is None:
            self._quiet_rows = (await self.klines({"symbol": self.quiet[0], "limit": 30})).rows()
        return self._quiet_rows

    async def klines(
        self,
        changes: Mapping[str, object] | None = None,
        *,
        kind: str = "klines",
        headers: tuple[tuple[str, str], ...] = (),
        more: str = "",
        extra: bool = False,
        at_close: bool = False,
    ) -> ReplySeen:
        """Ask for candles, by default the newest `1m` one; `changes` replaces parameters (`None` leaves one out).

        `more`: appended to the query as it is.
        """
        endpoint = self.endpoint(kind)
        name = self.pair if endpoint.subject is Subject.PAIR else self.symbol
        values: dict[str, object] = {endpoint.subject.value: name}
        values |= {"contractType": "PERPETUAL"} if endpoint.contract_types else {}
        values |= {"interval": "1m", "limit": 1, **(changes or {})}
        query = urlencode({name: value for name, value in values.items() if value is not None}) + more
        weight = documented_weight(endpoint, values["limit"])
        return await self.questions.ask(
            self.market, endpoint.path, query, weight=weight, headers=headers, extra=extra, at_close=at_close
        )

    async def _read_symbols(self) -> MarketSymbols:
        weight = EXCHANGE_INFO[self.market.family]
        reply = await self.questions.ask(self.market, f"{self.market.prefix}exchangeInfo", weight=weight)
        reply.json()
        try:
            found = read_symbols(self.market, reply.body, int(reply.sent_ms))
        except InvalidBody as error:
            raise NotMeasured(f"exchangeInfo: {error}") from error
        self.questions.set_limit(weight_limit(self.market, found.rate_limits))
        return found


def documented_weight(endpoint: KlineEndpoint, limit: object) -> int:
    """Return the documented weight of a question; a `limit` that is no number counts as missing."""
    if endpoint.market.family is Family.SPOT:
        return klines_weight(endpoint, 1)
    rows = limit if isinstance(limit, int) else endpoint.default_limit
    return klines_weight(endpoint, min(rows, endpoint.max_limit))
