"""Print the events of trades, books, tickers and prices (docs/sim.md#streams).

All follow from the moment, not from who listens: two connections get the same texts, and prices, trades and books are
those that candles and REST show.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from zlib import crc32

from mdcache.sim.api.placeholders import Placeholders, draws
from mdcache.sim.api.query import Query
from mdcache.sim.api.routes import PREFIXES, ROUTES
from mdcache.sim.config import DAY_MS, MARKETS, Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.node import DRAW
from mdcache.sim.prices.price_history import TICK_MS
from mdcache.sim.streams.event_templates import EVENTS
from mdcache.sim.streams.events import mini_ticker, trade_event
from mdcache.sim.streams.market_topics import MarketTopic

_MINUTE_MS = 60_000
_WINDOWS_MS = {"avgPrice": 5 * _MINUTE_MS, "ticker_1h": 60 * _MINUTE_MS, "ticker_4h": 240 * _MINUTE_MS}
_FORCED_EACH_S = 120  # a symbol's liquidations, on average
_FORCED_BEYOND = 200  # their limit is a 200th worse than the price
_TICKERS = frozenset({"miniTicker", "ticker", "ticker_1h", "ticker_4h", "ticker_1d", "avgPrice"})
_MERGED = frozenset({"miniTicker", "ticker", "bookTicker", "forceOrder"})  # about both futures markets on either


class MarketEvents:
    """The events of a topic at a moment."""

    def __init__(self, instruments: Instruments, listings: Listings, facts: PlayedFacts) -> None:
        self._instruments = instruments
        self._played = facts
        self._listings = listings
        self._found: dict[tuple[Market, str], tuple[tuple[int, int], SymbolSpec]] = {}
        self._routes = {market: ROUTES[f"{PREFIXES[market]}ticker/24hr"] for market in MARKETS}
        self.texts = lru_cache(2_048)(self._texts)

    def _texts(self, topic: MarketTopic, at_ms: int, *, micros: bool) -> tuple[str, ...]:
        """Return what a topic sends at a moment, about the time since its last."""
        printed = self._printer(topic, at_ms, micros=micros)
        match topic.subject:
            case "symbol":
                spec = self._symbol(topic, at_ms)
                return () if spec is None else tuple(printed(spec))
            case "pair":
                about = [spec for spec in self._listed(topic, at_ms) if (spec.pair or "").lower() == topic.name]
                if topic.kind == "indexPrice":
                    return tuple(printed(about[0])) if about else ()
            case _:
                about = self._listed(topic, at_ms)
        texts = tuple(text for spec in about for text in printed(spec))
        if topic.kind in {"bookTicker", "forceOrder"}:  # these alone come one by one
            return texts
        return (f"[{','.join(texts)}]",) if texts else ()

    def _printer(self, topic: MarketTopic, at_ms: int, *, micros: bool) -> Callable[[SymbolSpec], Iterable[str]]:
        """Return what prints a topic's events about one symbol."""
        match topic.kind:
            case "trade" | "aggTrade":
                return lambda spec: self._trades(topic.kind, spec, at_ms, micros=micros)
            case "depth" if topic.levels and topic.market == "spot":
                return lambda spec: self._partial(topic, spec, at_ms)
            case "depth":
                return lambda spec: self._depth(topic, spec, at_ms, micros=micros)
            case "forceOrder":
                return lambda spec: self._forced(spec, at_ms)
            case _:
                return lambda spec: self._shown(topic, spec, at_ms, micros=micros)

    def _trades(self, kind: str, spec: SymbolSpec, at_ms: int, *, micros: bool) -> Iterable[str]:
        """Print the trades of the tick that has just begun."""
        tick = at_ms // TICK_MS
        instrument = self._instruments.instrument(spec, "trades")
        if not instrument.candle(tick * TICK_MS, tick * TICK_MS + 1, at_ms).trades:
            return
        units, unit = self._instruments.units(spec), 1000 if micros else 1
        for number, trade in enumerate(instrument.history.trades(tick), instrument.history.trades_before(tick)):
            yield trade_event(kind, spec, units, trade, number=number, event=at_ms * unit, time=tick * TICK_MS * unit)

    def _depth(self, topic: MarketTopic, spec: SymbolSpec, at_ms: int, *, micros: bool) -> Iterable[str]:
        """Print what changed in a book, or on futures also its best levels; numbered so that events join."""
        book, units = self._instruments.book(spec), self._instruments.units(spec)
        before_ms = at_ms - topic.step_ms
        changed = book.changes(before_ms, at_ms)
        if changed is None:
            return
        bids, asks = changed["bids"], changed["asks"]
        if topic.levels:
            bids, asks = (book.levels(side, topic.levels, at_ms) for side in ("bids", "asks"))
        last, first = book.update_id(at_ms), book.update_id(before_ms) + 1
        rows = f'"b":{units.levels(bids)},"a":{units.levels(asks)}'
        ids, pair = f'"U":{first},"u":{last}', f'"ps":"{spec.pair}"'
        event = at_ms * 1000 if micros else at_ms
        if topic.market == "spot":
            yield f'{{"e":"depthUpdate","E":{event},"s":"{spec.symbol}",{ids},{rows}}}'
            return
        head = f'{{"e":"depthUpdate","E":{event},"T":{at_ms // TICK_MS * TICK_MS},"s":"{spec.symbol}"'
        ids += f',"pu":{first - 1}'
        if topic.market == "usdm":
            yield f'{head},{ids},{rows},{pair},"st":1}}'
        else:
            yield f'{head},{pair},{ids},{rows},"st":2}}'

    def _partial(self, topic: MarketTopic, spec: SymbolSpec, at_ms: int) -> Iterable[str]:
        """Print the best levels of a book, as spot does."""
        book, units = self._instruments.book(spec), self._instruments.units(spec)
        number = book.update_id(at_ms)
        bids, asks = (book.levels(side, topic.levels, at_ms) for side in ("bids", "asks"))
        if bids and number != book.update_id(at_ms - topic.step_ms):
            yield f'{{"lastUpdateId":{number},"bids":{units.levels(bids)},"asks":{units.levels(asks)}}}'

    def _shown(self, topic: MarketTopic, spec: SymbolSpec, at_ms: int, *, micros: bool) -> Iterable[str]:
        """Print a ticker or a price, unless it is what it was."""
        values = self._placeholders(topic, spec, at_ms, micros=micros)
        if not self._changed(topic, spec, at_ms):
            return
        if topic.kind == "miniTicker":
            yield mini_ticker(spec, values.units, values.candle, event=values.query.time(at_ms))
        else:
            yield EVENTS[spec.market][topic.kind].substitute(values)  # type: ignore[arg-type]  # only __getitem__ is needed

    def _changed(self, topic: MarketTopic, spec: SymbolSpec, at_ms: int) -> bool:
        before_ms = at_ms - topic.step_ms
        if topic.kind == "miniTicker" and topic.subject == "all":
            if self._played.flag(topic.market, "mini_tickers_list_untraded", usual=False):
                return True
            listed = self._played.flag(topic.market, "mini_tickers_list_traded", usual=True)
            if not listed and (crc32(spec.symbol.encode()) // 32 + at_ms // topic.step_ms) % 2:
                return False
        if topic.kind in _TICKERS:
            return self._instruments.instrument(spec, "trades").candle(before_ms + 1, at_ms + 1, at_ms).trades > 0
        if topic.kind == "bookTicker":
            book = self._instruments.book(spec)
            now, before = ([book.levels(side, 1, ms) for side in ("bids", "asks")] for ms in (at_ms, before_ms))
            return all(now) and now != before
        kind = "index" if topic.kind == "indexPrice" else "mark"
        return self._instruments.instrument(spec, kind).price(at_ms) > 0

    def _forced(self, spec: SymbolSpec, at_ms: int) -> Iterable[str]:
        """Print a liquidation, in one second of a hundred or so, if the symbol was traded in it."""
        drawn, side, size = draws(self._instruments.seed, 3, spec.market, spec.symbol, "forced", at_ms // 1000)
        if drawn * _FORCED_EACH_S >= DRAW or spec.status_at(at_ms) != "TRADING":
            return
        values = self._placeholders(None, spec, at_ms, micros=False)
        price, units = values.last, values.units
        sold = side % 2 == 0
        limit = max(1, price - price // _FORCED_BEYOND if sold else price + price // _FORCED_BEYOND)
        yield EVENTS[spec.market]["forceOrder"].substitute(
            values,  # type: ignore[arg-type]  # only __getitem__ is needed
            side="SELL" if sold else "BUY",
            size=units.quantity(1 + 2 * units.trade_size(price) * size // DRAW),
            price=units.price(price),
            limit=units.price(limit),
        )

    def _placeholders(self, topic: MarketTopic | None, spec: SymbolSpec, at_ms: int, *, micros: bool) -> Placeholders:
        """Return a symbol's values for the templates, over the window that the topic is about."""
        query = Query(
            market=spec.market, route=self._routes[spec.market], specs=(spec,), name=spec.symbol, single=True, limit=0,
            start_ms=None, end_ms=None, offset_ms=0, micros=micros, values={},
        )  # fmt: skip
        kind = topic.kind if topic is not None else ""
        begin_ms = at_ms - _WINDOWS_MS.get(kind, DAY_MS)
        if spec.market != "spot" or kind.startswith("ticker_"):
            begin_ms -= begin_ms % _MINUTE_MS
        return Placeholders(self._instruments, query, spec, at_ms, begin_ms, at_ms + 1)

    def _symbol(self, topic: MarketTopic, at_ms: int) -> SymbolSpec | None:
        """Return the symbol of a topic as it is listed."""
        key = topic.market, topic.name
        changes = self._listings.changes(at_ms)
        known, spec = self._found.get(key, (None, None))
        if known != changes or spec is None:
            names = (one for one in self._listings.visible(topic.market, at_ms) if one.symbol.lower() == topic.name)
            spec = next(names, None)
            if spec is not None:
                self._found[key] = changes, spec
        return spec

    def _listed(self, topic: MarketTopic, at_ms: int) -> list[SymbolSpec]:
        markets: tuple[Market, ...] = (topic.market,)
        if topic.subject == "all" and topic.market != "spot" and topic.kind in _MERGED:
            markets = ("usdm", "coinm")
        return [spec for market in markets for spec in self._listings.visible(market, at_ms)]
