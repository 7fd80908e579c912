"""Everything about Binance that can be measured: one flat table. Pure.

A key is `<market>.<name>`. `assumed` is what the daemon takes for granted: the constant in its code, or what it would
not notice if it changed. `mdcache verify` measures, the profile (`profile.py`) keeps what was measured, `mdcache sim
--profile` plays it, and `serve` takes some of it (docs/design.md#exchange-profile).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mdcache.errors import Refusal
from mdcache.exchange import refusals
from mdcache.exchange.fact_kinds import (
    ACCEPTED,
    Choice,
    CodeAndText,
    FactKind,
    FactValue,
    Flag,
    Numbers,
    Order,
    WeightSteps,
    Whole,
)
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.streams import FUTURES_CADENCE_MS, SECONDS_CADENCE_MS, SPOT_CADENCE_MS
from mdcache.exchange.weights import FUTURES_KLINES, SPOT_KLINES

FINAL_ROW_LAG_MS = 3_000  # SETTLE_S: from so long after a close on, two equal reads settle its row
FINAL_FRAME_LAG_MS = {Market.SPOT: 200, Market.USDM: 2_000, Market.COINM: 2_000}  # docs/binance.md#kline-streams
_MAX_LAG_MS = 120_000  # a measurement waits no longer
_MAX_WEIGHT = 200  # ten times the dearest known step, so that no profile can make reads unaffordable
_CHECKS = ("empty", "characters", "unknown", "interval", "limit", "symbol", "window")  # docs/binance.md#errors


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of one market. `source`: where the assumption is from."""

    market: Market
    name: str
    kind: FactKind
    assumed: FactValue
    source: str

    @property
    def key(self) -> str:
        """The name by which a profile knows it."""
        return f"{self.market.value}.{self.name}"

    def agrees(self, seen: FactValue) -> bool:
        """Return whether a measured value bears out what is assumed."""
        return self.kind.agrees(self.assumed, seen)


def _said(refusal: Refusal) -> str:
    return f"{refusal.code} {refusal.msg}"


def _clocks_and_closes(market: Market) -> Iterator[Fact]:
    spot = market is Market.SPOT
    yield Fact(market, "date_ahead_ms", Whole(-600_000, 600_000, slack=1_000), 0, "docs/design.md#exchange-clock")
    lag = Whole(0, _MAX_LAG_MS, at_most=True)
    yield Fact(market, "final_row_lag_ms", lag, FINAL_ROW_LAG_MS, "docs/design.md#settling")
    frame_lag = Whole(0, _MAX_LAG_MS, slack=300, at_most=True)  # a trip to the exchange
    yield Fact(market, "final_frame_lag_ms", frame_lag, FINAL_FRAME_LAG_MS[market], "docs/binance.md#kline-streams")
    yield Fact(market, "frames_equal_rows", Flag(), assumed=True, source="docs/design.md#stream-fed")
    cadence = SPOT_CADENCE_MS if spot else FUTURES_CADENCE_MS
    yield Fact(
        market, "frame_cadence_ms", Whole(50, 60_000, slack=cadence // 2, at_most=True), cadence,
        "docs/binance.md#kline-streams",
    )  # fmt: skip
    if spot:
        kind = Whole(50, 60_000, slack=SECONDS_CADENCE_MS // 2, at_most=True)
        yield Fact(market, "seconds_cadence_ms", kind, SECONDS_CADENCE_MS, "docs/binance.md#kline-streams")
    yield Fact(market, "mini_tickers_cadence_ms", Whole(50, 60_000, slack=500, at_most=True), 1_000,
               "docs/design.md#silence")  # fmt: skip
    yield Fact(market, "mini_tickers_list_traded", Flag(), assumed=True, source="docs/design.md#silence")
    yield Fact(market, "mini_tickers_list_untraded", Flag(), assumed=False, source="docs/design.md#silence")
    yield Fact(market, "quiet_topics", Choice(("silent", "frames")), "silent", "docs/binance.md#kline-streams")
    yield Fact(market, "zero_trade_rows", Flag(), assumed=True, source="docs/binance.md#zero-trade-rows")
    if not spot:
        route = "market" if market is Market.USDM else "none"
        yield Fact(market, "stream_route", Choice(("market", "none")), route, "docs/binance.md#stream-connections")


def _weights(market: Market) -> Iterator[Fact]:
    spot = market is Market.SPOT
    steps = ((1_000, SPOT_KLINES),) if spot else FUTURES_KLINES
    assumed = {str(top): weight for top, weight in steps}
    for endpoint in KLINE_ENDPOINTS.values():
        if endpoint.market is market:
            kind = WeightSteps(steps[-1][0], _MAX_WEIGHT)
            yield Fact(market, f"{endpoint.kind}_weights", kind, assumed, "docs/binance.md#kline-weights")
    limit = 6_000 if spot else 2_400
    yield Fact(market, "weight_limit", Whole(1, 1_000_000), limit, "docs/binance.md#rate-limits")
    yield Fact(market, "weight_header", Flag(), assumed=True, source="docs/binance.md#usage-headers")
    # the daemon charges a refused question like any other, so it is safe either way
    yield Fact(market, "refusals_weigh", Flag(), assumed=not spot, source="docs/binance.md#minute")
    if spot:
        yield Fact(market, "data_host_shares_weight", Flag(), assumed=True, source="docs/binance.md#hosts")
    if market is Market.USDM:
        yield Fact(market, "coinm_shares_weight", Flag(), assumed=True, source="docs/binance.md#shared-weight")


def _ranges(market: Market) -> Iterator[Fact]:
    spot, coinm = market is Market.SPOT, market is Market.COINM
    bounds = "docs/binance.md#time-bounds"
    cap = max(one.max_limit for one in KLINE_ENDPOINTS.values() if one.market is market)
    rows = Choice(("oldest", "newest"))
    days = next((one.max_span_ms for one in KLINE_ENDPOINTS.values() if one.market is market), None)
    yield Fact(market, "klines_cap", Whole(1, 10_000), cap, "docs/binance.md#kline-parameters")
    yield Fact(market, "start_inclusive", Flag(), assumed=True, source=bounds)
    yield Fact(market, "end_inclusive", Flag(), assumed=True, source=bounds)
    yield Fact(market, "start_only_rows", rows, "newest" if coinm else "oldest", bounds)
    yield Fact(market, "end_only_rows", rows, "newest", bounds)
    yield Fact(market, "both_ends_rows", rows, "newest" if coinm else "oldest", bounds)
    yield Fact(market, "future_end", CodeAndText(), ACCEPTED, bounds)
    yield Fact(market, "future_range", CodeAndText(), ACCEPTED, bounds)
    yield Fact(market, "range_days_cap", Whole(0, 100_000), (days or 0) // 86_400_000, bounds)  # 0: there is none
    phases = Numbers("[A-Z0-9_]{1,40}", 0, 2)  # of a symbol: day number mod 3, from its own printed rows; none assumed
    yield Fact(market, "three_day_phases", phases, {}, "docs/binance.md#three-day-phase")
    yield Fact(
        market, "untraded_symbol_rows", Choice(("end", "go_on", "refused")), "end", "docs/binance.md#series-content"
    )
    if spot:
        yield Fact(market, "time_zone_moves_opens", Flag(), assumed=True, source="docs/binance.md#time-zone")
        yield Fact(market, "micros_start_accepted", Flag(), assumed=True, source=bounds)
        yield Fact(market, "micros_close", Choice(("999999", "999000")), "999999", "docs/binance.md#time-zone")


def _answers(market: Market) -> Iterator[Fact]:
    spot, errors = market is Market.SPOT, "docs/binance.md#errors"
    legal = refusals.SPOT_SYMBOL if spot else refusals.FUTURES_SYMBOL
    found: dict[str, str] = {
        "symbol": _said(refusals.bad_symbol()),
        "interval": _said(refusals.bad_interval()),
        "missing_symbol": _said(refusals.missing("symbol")),
        "empty_start": _said(refusals.empty("startTime")),
        "doubled_limit": _said(refusals.duplicate()),
        "limit_characters": _said(refusals.illegal_characters("limit", refusals.DIGITS)),
        "symbol_characters": _said(refusals.illegal_characters("symbol", legal)),
        "limit_zero": _said(refusals.invalid("limit")),
        "over_cap": ACCEPTED if spot else _said(refusals.invalid("limit")),
        "start_after_end": ACCEPTED if spot else _said(refusals.start_after_end()),
        "unknown_parameter": _said(refusals.unknown_parameters(2, 3)) if spot else ACCEPTED,
    }
    if spot:
        found["time_zone"] = _said(refusals.invalid("timeZone"))
        found["time_unit"] = _said(refusals.bad_time_unit())
    else:
        found["contract_type"] = _said(refusals.bad_contract_type())
        found["pair"] = _said(refusals.bad_pair(market))
    if market is Market.COINM:
        found["over_range"] = _said(refusals.span_too_long(200))
    for name, assumed in found.items():  # to a question for a symbol and an interval with this one thing wrong or more
        yield Fact(market, f"answer_to_{name}", CodeAndText(), assumed, errors)
    left_out = "window" if spot else "unknown"  # futures ignore unknown parameters, spot answers start after end
    order = tuple(one for one in _CHECKS if one != left_out)
    yield Fact(market, "check_order", Order(order), " ".join(order), errors)
    yield Fact(market, "gzip", Flag(), assumed=True, source="docs/binance.md#response-headers")
    yield Fact(market, "http2", Flag(), assumed=False, source="docs/binance.md#response-headers")


FACTS: Mapping[str, Fact] = {
    fact.key: fact
    for market in Market
    for facts in (_clocks_and_closes, _weights, _ranges, _answers)
    for fact in facts(market)
}
