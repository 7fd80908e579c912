"""Parse a kline request into a question, or raise the refusal Binance would give.

`symbols.py` knows whether the symbol exists. Binance's order of checks is unknown (docs/binance.md#unverified). Ours:
parameters, characters, interval, limit, zone, unit, then symbol, then span.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from mdcache.exchange import refusals
from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY, Interval
from mdcache.exchange.markets import KlineEndpoint, Market
from mdcache.exchange.parameters import read_parameters, symbol_name, wants_micros, whole_number, zone_minutes

MICROSECONDS_FROM = 10**14  # spot accepts either unit; 10^14 ms is the year 5138, 10^14 us is 1973
_OPTIONAL = ("startTime", "endTime", "limit")


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """The identity of a series: rows with the same key and open time are the same row.

    `kind`: the path's last part (`klines`, `uiKlines`, …). `subject`: a symbol or pair in upper case. `zone_minutes`:
    the offset of the buckets. `micros`: times are printed in microseconds.
    """

    market: Market
    kind: str
    subject: str
    contract_type: str
    interval: str
    zone_minutes: int = 0
    micros: bool = False

    @property
    def by_pair(self) -> bool:
        """Whether its subject is a pair, not a symbol."""
        return self.kind in {"continuousKlines", "indexPriceKlines"}

    @property
    def signed(self) -> bool:
        """Whether its prices may be negative."""
        return self.kind == "premiumIndexKlines"

    def __str__(self) -> str:
        parts = [self.market.value, self.kind, self.subject, self.contract_type, self.interval]
        parts += [f"{self.zone_minutes:+d}min" if self.zone_minutes else "", "us" if self.micros else ""]
        return "/".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class RowQuery:
    """A question in canonical form: at most `limit` rows with `lo_ms` <= open time <= `hi_ms` (`None`: no end).

    `newest`: if there are more rows than `limit`, the newest are kept, else the oldest.
    """

    lo_ms: int
    hi_ms: int | None
    limit: int
    newest: bool


@dataclass(frozen=True, slots=True)
class KlineQuestion:
    """A kline question that Binance would accept, if symbol and span (`check_span`) are right."""

    key: SeriesKey
    endpoint: KlineEndpoint
    start_ms: int | None
    end_ms: int | None
    limit: int

    @property
    def interval(self) -> Interval:
        """The interval's arithmetic."""
        return INTERVALS[self.key.interval]

    @property
    def bounded(self) -> bool:
        """Whether both ends are given."""
        return self.start_ms is not None and self.end_ms is not None

    def may_reach(self, now_ms: int) -> bool:
        """Return whether the candle that is open at a moment may be in the answer: not, if it is a page of history."""
        if self.end_ms is not None and self.end_ms < now_ms:
            return False
        if self.start_ms is None or self.endpoint.nearest_end or self.interval.months:
            return True
        return self.start_ms + self.limit * self.interval.length_ms >= now_ms

    def check_span(self) -> None:
        """Raise Binance's refusal if it would not accept the span."""
        if self.endpoint.market is Market.SPOT or self.start_ms is None or self.end_ms is None:
            return
        if self.start_ms > self.end_ms:
            raise refusals.start_after_end()
        span = self.endpoint.max_span_ms
        if span is not None and self.end_ms - self.start_ms > span:
            raise refusals.span_too_long(span // 86_400_000)

    def row_query(self, now_ms: int) -> RowQuery:
        """Return the question in canonical form at exchange time `now_ms` (only coinm's windows depend on it)."""
        span = self.endpoint.max_span_ms
        if span is None:
            if self.start_ms is None:
                return RowQuery(0, self.end_ms, self.limit, newest=True)
            return RowQuery(self.start_ms, self.end_ms, self.limit, newest=self.endpoint.nearest_end)
        start, end = self.start_ms, self.end_ms
        if start is None:
            start = (now_ms if end is None else end) - span
        elif end is None and start + span < now_ms:
            end = start + span
        return RowQuery(max(0, start), end, self.limit, newest=self.endpoint.nearest_end)


def parse_klines(endpoint: KlineEndpoint, query: str, headers: Mapping[str, str]) -> KlineQuestion:
    """Parse a request to `endpoint.path`, or raise the `Refusal` Binance would give.

    Args:
        endpoint: the path's rules.
        query: the raw query string.
        headers: names in lower case; only `x-mbx-time-unit` is read.
    """
    spot = endpoint.market is Market.SPOT
    mandatory = [endpoint.subject.value, *(["contractType"] if endpoint.contract_types else []), "interval"]
    known = {*mandatory, *_OPTIONAL, *(["timeZone"] if spot else [])}
    sent = read_parameters(query, None if spot else known)
    for each in mandatory:
        if each not in sent:
            raise refusals.missing(each)
    subject = symbol_name(sent[endpoint.subject.value], endpoint.subject.value, spot=spot)
    numbers = {each: whole_number(each, sent[each]) for each in _OPTIONAL if each in sent}
    if spot and (unknown := len(sent.keys() - known)):
        raise refusals.unknown_parameters(len(sent) - unknown, len(sent))
    interval = sent["interval"]
    if interval not in INTERVALS or (interval in SPOT_ONLY and not spot):
        raise refusals.bad_interval()
    limit = _limit(numbers.get("limit", endpoint.default_limit), endpoint)
    zone = zone_minutes(sent["timeZone"]) if spot and "timeZone" in sent else 0
    micros = spot and wants_micros(headers.get("x-mbx-time-unit"))
    contract_type = sent["contractType"] if endpoint.contract_types else ""
    if contract_type and contract_type not in endpoint.contract_types:
        raise refusals.bad_contract_type()
    start, end = numbers.get("startTime"), numbers.get("endTime")
    if spot:
        start = start if start is None or start < MICROSECONDS_FROM else -(-start // 1000)
        end = end if end is None or end < MICROSECONDS_FROM else end // 1000
    key = SeriesKey(endpoint.market, endpoint.kind, subject, contract_type, interval, zone, micros)
    return KlineQuestion(key, endpoint, start, end, limit)


def request_query(key: SeriesKey, start_ms: int | None, end_ms: int | None, limit: int) -> str:
    """Return the query string of a request for rows of this series; times in milliseconds."""
    parts = [f"{'pair' if key.by_pair else 'symbol'}={quote(key.subject)}"]
    if key.contract_type:
        parts.append(f"contractType={key.contract_type}")
    parts.append(f"interval={key.interval}")
    if start_ms is not None:
        parts.append(f"startTime={start_ms}")
    if end_ms is not None:
        parts.append(f"endTime={end_ms}")
    if key.zone_minutes:
        hours, minutes = divmod(abs(key.zone_minutes), 60)
        parts.append(f"timeZone={'-' if key.zone_minutes < 0 else ''}{hours}:{minutes:02d}")
    parts.append(f"limit={limit}")
    return "&".join(parts)


def request_headers(key: SeriesKey) -> tuple[tuple[str, str], ...]:
    """Return the headers that belong to the series' identity."""
    return (("X-MBX-TIME-UNIT", "MICROSECOND"),) if key.micros else ()


def _limit(value: int, endpoint: KlineEndpoint) -> int:
    if value == 0:
        raise refusals.invalid("limit")
    if value <= endpoint.max_limit:
        return value
    if endpoint.market is Market.SPOT:  # larger limits are silently capped: tested with 1001, 1500, 5000
        return endpoint.max_limit
    raise refusals.invalid("limit")  # 1500 is accepted, 1501 refused: measured 2026
