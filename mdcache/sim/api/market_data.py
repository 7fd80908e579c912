"""Fill the templates of all market data but candles, for symbols and moments."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice

from mdcache.sim.api.checks import STATISTICS_SPAN_MS
from mdcache.sim.api.placeholders import FUNDING_MS, Placeholders, draws, is_perpetual, trade_step_ms
from mdcache.sim.api.query import Query
from mdcache.sim.api.templates import MINI, TEMPLATES, BodyTemplate
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.grid import LENGTHS_MS
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.node import DRAW

_MINUTE_MS = 60_000
_AVERAGE_MS = 5 * _MINUTE_MS  # rest-api.md, GET /api/v3/avgPrice
_UNITS_MS = {"m": _MINUTE_MS, "h": 60 * _MINUTE_MS, "d": DAY_MS}
_QUARTER_MS = 91 * DAY_MS
_DELIVERY_MS = 1_790_323_200_000  # 2026-09-25 08:00, the end of a quarter


class MarketData:
    """Fills the templates of market data."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def answer(self, query: Query, at_ms: int) -> bytes:
        """Return the body as of a moment (milliseconds since the Unix epoch)."""
        template = MINI if query.values.get("type") == "MINI" else TEMPLATES[query.market][query.endpoint]
        match template.shape:
            case "rows":
                parts = self._rows(query, template, at_ms)
            case "trades":
                parts = self._trades(query, template, at_ms)
            case shape:
                specs = query.specs[:1] if shape == "one" else _listed(query, at_ms)
                parts = [self._filled(query, template, spec, at_ms, *_stretch(query, spec, at_ms)) for spec in specs]
        text = ",".join(parts)
        if query.endpoint == "executionRules":
            text = f'{{"symbolRules":[{text}]}}'
        elif template.shape in {"rows", "trades"} or (
            template.shape == "each" and (not query.single or query.market == "coinm")
        ):
            text = f"[{text}]"
        return text.encode()

    def _filled(
        self, query: Query, template: BodyTemplate, spec: SymbolSpec, at_ms: int, begin_ms: int, end_ms: int
    ) -> str:
        return template.filled.substitute(Placeholders(self._instruments, query, spec, at_ms, begin_ms, end_ms))  # type: ignore[arg-type]  # only __getitem__ is needed

    def _rows(self, query: Query, template: BodyTemplate, at_ms: int) -> list[str]:
        """Fill a row for each moment of a window: the newest rows, or the oldest from a start."""
        specs, step_ms, phase_ms, oldest_ms = query.specs[:1], 0, 0, at_ms - STATISTICS_SPAN_MS
        if query.endpoint == "fundingRate":
            specs, step_ms, oldest_ms = tuple(filter(is_perpetual, query.specs)), FUNDING_MS, 0
        elif query.endpoint == "delivery-price":
            specs = tuple(sorted(query.specs, key=lambda spec: spec.listed_ms)[:1])
            step_ms, phase_ms, oldest_ms = _QUARTER_MS, _DELIVERY_MS, 0
        else:
            step_ms = LENGTHS_MS[query.values["period"]]
        listed_ms = min((spec.listed_ms for spec in specs), default=at_ms + 1)
        begin_ms = max(listed_ms, oldest_ms, query.start_ms or 0)
        end_ms = at_ms if query.end_ms is None else min(query.end_ms, at_ms)
        moments: Sequence[int] = range(begin_ms + (phase_ms - begin_ms) % step_ms, end_ms + 1, step_ms)
        order = -1 if query.start_ms is None else 1
        rows = ((spec, moment) for moment in moments[::order] for spec in specs[::order] if _live(spec, moment))
        found = list(islice(rows, query.limit or None))
        if query.endpoint != "delivery-price":  # it alone has the newest row first
            found = found[::order]
        return [self._filled(query, template, spec, moment, moment - step_ms, moment) for spec, moment in found]

    def _trades(self, query: Query, template: BodyTemplate, at_ms: int) -> list[str]:
        """Fill the trades from a number or a start, or the newest; each has the time that its number implies."""
        (spec,) = query.specs
        step_ms = trade_step_ms(spec)
        from_id = query.values.get("fromId")
        start_ms, end_ms = (query.start_ms, query.end_ms) if from_id is None else (None, None)
        ranges: list[range] = []
        for begin_ms, stop_ms in self._instruments.instrument(spec, "trades").sessions(at_ms) if step_ms else ():
            low_ms = max(begin_ms, start_ms or 0) - spec.listed_ms
            high_ms = min(stop_ms, stop_ms if end_ms is None else end_ms + 1) - spec.listed_ms
            ranges.append(range(max(int(from_id or 0), -(-low_ms // step_ms)), -(-high_ms // step_ms)))
        if from_id is None and start_ms is None:
            newest = chain.from_iterable(numbers[::-1] for numbers in reversed(ranges))
            numbers: Iterable[int] = list(islice(newest, query.limit))[::-1]
        else:
            numbers = islice(chain.from_iterable(ranges), query.limit)
        return [self._trade(query, template, spec, number) for number in numbers]

    def _trade(self, query: Query, template: BodyTemplate, spec: SymbolSpec, number: int) -> str:
        """Fill one trade, priced within the candle of its minute."""
        time_ms = spec.listed_ms + number * trade_step_ms(spec)
        candle = self._instruments.instrument(spec, "trades").candle_around(time_ms)
        where, size, maker = draws(self._instruments.seed, 3, spec.market, spec.symbol, "trade", number)
        units = self._instruments.units(spec)
        price = candle.low + (candle.high - candle.low) * where // DRAW
        quantity = 1 + 2 * units.trade_size(price) * size // DRAW
        return template.filled.substitute(
            id=number,
            price=units.price(price),
            size=units.quantity(quantity),
            worth=units.turnover(units.worth(price, quantity)),
            time=query.time(time_ms),
            maker="true" if maker % 2 else "false",
        )


def _stretch(query: Query, spec: SymbolSpec, at_ms: int) -> tuple[int, int]:
    """Return the span [begin, end) of trading that an answer is about."""
    match query.endpoint:
        case "ticker":
            size = query.values.get("windowSize", "1d")
            return (at_ms - int(size[:-1]) * _UNITS_MS[size[-1]]) // _MINUTE_MS * _MINUTE_MS, at_ms + 1
        case "ticker/tradingDay":
            begin_ms = (at_ms + query.offset_ms) // DAY_MS * DAY_MS - query.offset_ms
            return begin_ms, begin_ms + DAY_MS
        case "avgPrice":
            return at_ms - _AVERAGE_MS, at_ms + 1
        case _:  # the last 24 hours; on futures they begin with a whole minute
            begin_ms = at_ms - DAY_MS
            return begin_ms if spec.market == "spot" else begin_ms // _MINUTE_MS * _MINUTE_MS, at_ms + 1


def _listed(query: Query, at_ms: int) -> Sequence[SymbolSpec]:
    """Return the symbols that have an element in a list."""
    if query.endpoint == "convert/exchangeInfo":
        return [spec for spec in query.specs if is_perpetual(spec) and _convertible(query, spec)]
    if query.endpoint != "fundingInfo":
        return query.specs
    return [spec for spec in query.specs if is_perpetual(spec) and spec.listed_ms <= at_ms]


def _convertible(query: Query, spec: SymbolSpec) -> bool:
    """Return whether a conversion between the assets of a symbol was asked for."""
    return all(
        query.values.get(name, asset) == asset
        for name, asset in zip(("fromAsset", "toAsset"), base_and_quote(spec), strict=True)
    )


def _live(spec: SymbolSpec, ms: int) -> bool:
    return spec.listed_ms <= ms and (spec.halted_ms is None or ms <= spec.halted_ms)
