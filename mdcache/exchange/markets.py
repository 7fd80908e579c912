"""The three markets, their families, and the twelve kline paths. Tables only."""

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    """Markets that share one weight counter at Binance, and so one gate and one budget."""

    SPOT = "spot"
    FUTURES = "futures"  # fapi and dapi share it since 2026-06-30: docs/binance.md#shared-weight


class Market(StrEnum):
    """A market, with its own base URL and symbols."""

    SPOT = "spot"
    USDM = "usdm"
    COINM = "coinm"

    @property
    def family(self) -> Family:
        """The family whose limits count calls of this market."""
        return Family.SPOT if self is Market.SPOT else Family.FUTURES

    @property
    def prefix(self) -> str:
        """First part of the paths of this market, such as `/api/v3/`."""
        return _PREFIX[self]


_PREFIX = {Market.SPOT: "/api/v3/", Market.USDM: "/fapi/v1/", Market.COINM: "/dapi/v1/"}


class Subject(StrEnum):
    """The mandatory parameter of a kline path: symbol or pair."""

    SYMBOL = "symbol"
    PAIR = "pair"


@dataclass(frozen=True, slots=True)
class KlineEndpoint:
    """One kline path of one market, with the rules that differ between paths.

    `max_span_ms`: the longest window with both ends, `None` if Binance states no limit. `nearest_end`: a window with
    more rows than `limit` keeps the newest (coinm), not the oldest. `weights`: up to this `limit`, this weight, where
    more was measured than is documented (`weights.py`).
    """

    market: Market
    path: str
    kind: str
    subject: Subject
    contract_types: tuple[str, ...] = ()
    default_limit: int = 500
    max_limit: int = 1500
    max_span_ms: int | None = None
    nearest_end: bool = False
    weights: tuple[tuple[int, int], ...] = ()

    @property
    def short_path(self) -> str:
        """The path without its market and version: a metrics label."""
        return self.kind


_200_DAYS_MS = 200 * 86_400_000  # dapi: "startTime and endTime within 200 days": docs/binance.md#time-bounds
_USDM_CONTRACTS = (  # docs/binance.md#kline-parameters
    "PERPETUAL",
    "CURRENT_QUARTER",
    "NEXT_QUARTER",
    "TRADIFI_PERPETUAL",
)
_COINM_CONTRACTS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")  # docs/binance.md#kline-parameters


def _spot(kind: str) -> KlineEndpoint:
    # limit 500, at most 1000: Binance rest-api.md, GET /api/v3/klines
    return KlineEndpoint(Market.SPOT, f"/api/v3/{kind}", kind, Subject.SYMBOL, max_limit=1000)


def _usdm(kind: str, subject: Subject, contracts: tuple[str, ...] = ()) -> KlineEndpoint:
    return KlineEndpoint(Market.USDM, f"/fapi/v1/{kind}", kind, subject, contracts)


def _coinm(kind: str, subject: Subject, contracts: tuple[str, ...] = ()) -> KlineEndpoint:
    path = f"/dapi/v1/{kind}"
    if kind == "premiumIndexKlines":  # its page has only the fapi-style note: docs/binance.md#time-bounds
        return KlineEndpoint(Market.COINM, path, kind, subject, contracts)
    return KlineEndpoint(Market.COINM, path, kind, subject, contracts, max_span_ms=_200_DAYS_MS, nearest_end=True)


KLINE_ENDPOINTS: dict[str, KlineEndpoint] = {
    entry.path: entry
    for entry in (
        _spot("klines"),
        _spot("uiKlines"),
        _usdm("klines", Subject.SYMBOL),
        _usdm("continuousKlines", Subject.PAIR, _USDM_CONTRACTS),
        _usdm("indexPriceKlines", Subject.PAIR),
        _usdm("markPriceKlines", Subject.SYMBOL),
        _usdm("premiumIndexKlines", Subject.SYMBOL),
        _coinm("klines", Subject.SYMBOL),
        _coinm("continuousKlines", Subject.PAIR, _COINM_CONTRACTS),
        _coinm("indexPriceKlines", Subject.PAIR),
        _coinm("markPriceKlines", Subject.SYMBOL),
        _coinm("premiumIndexKlines", Subject.SYMBOL),
    )
}
