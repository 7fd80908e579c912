"""The configuration of a simulated exchange: symbols, outages and limits.

Plain values only; nothing here computes a price or answers a request. Which symbols and outages there are by default
is in `default_symbols.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mdcache.sim.played_facts import PlayedFacts

Market = Literal["spot", "usdm", "coinm"]
Family = Literal["spot", "futures"]
Bucket = Literal["funding", "statistics"]  # requests counted apart from the weight: docs/binance.md#rate-limits
MARKETS: tuple[Market, ...] = ("spot", "usdm", "coinm")

DAY_MS = 86_400_000
SPOT_DECIMALS = 8  # spot pads every number to 8: rest-api.md samples


def family_of(market: Market) -> Family:
    """Return the weight counter of a market: usdm and coinm share one (docs/binance.md#rate-limits)."""
    return "spot" if market == "spot" else "futures"


@dataclass(frozen=True, slots=True)
class Outage:
    """No trading in [start_ms, end_ms); from `filled_ms` on, if set, the rows exist after all."""

    start_ms: int
    end_ms: int
    filled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """One symbol or contract, with everything that its candles depend on, beside the seed.

    Trading lasts from `listed_ms` to `halted_ms` (exclusive; `None`: it goes on). `exchangeInfo` names the
    symbol from `announced_ms` (default: `listed_ms`) until `delisted_ms`; outside that it is unknown.
    `status` is shown from the halt on (or always, if it never halts and has begun).
    `price` is what it cost on 2017-01-01 and hovers about since; symbols of one asset move together.
    `printed_decimals` pads futures prices (spot pads all to 8); `contract_size` is coinm's, in US dollars.
    """

    market: Market
    symbol: str
    listed_ms: int
    halted_ms: int | None = None
    status: str = "TRADING"
    pair: str | None = None
    contract_type: str | None = None
    delivery_ms: int | None = None
    announced_ms: int | None = None
    delisted_ms: int | None = None
    trades_per_day: int = 50_000
    outages: tuple[Outage, ...] = ()
    price: str = "100"
    price_decimals: int = 2
    printed_decimals: int | None = None
    quantity_decimals: int = 3
    contract_size: int = 10

    def __post_init__(self) -> None:
        """Refuse decimals that could not be printed exactly."""
        if self.market == "spot" and self.price_decimals + self.quantity_decimals > SPOT_DECIMALS:
            raise ValueError(f"{self.symbol}: price and quantity have more than {SPOT_DECIMALS} decimals together")
        if self.printed_decimals is not None and self.printed_decimals < self.price_decimals:
            raise ValueError(f"{self.symbol}: fewer decimals printed than the price has")

    def visible(self, at_ms: int) -> bool:
        """Return whether `exchangeInfo` names it at that moment."""
        since = self.listed_ms if self.announced_ms is None else self.announced_ms
        return since <= at_ms and (self.delisted_ms is None or at_ms < self.delisted_ms)

    def status_at(self, at_ms: int) -> str:
        """Return the status `exchangeInfo` shows at that moment."""
        if at_ms < self.listed_ms and self.status == "TRADING":
            return "BREAK" if self.market == "spot" else "PENDING_TRADING"
        if self.halted_ms is None:
            return self.status
        if at_ms < self.halted_ms:
            return "TRADING"
        if self.status != "TRADING":
            return self.status
        return "BREAK" if self.market == "spot" else "SETTLING"


@dataclass(frozen=True, slots=True)
class SimConfig:
    """One simulated exchange. `symbols=None` stands for those of `default_symbols.py`.

    Limits are weight a UTC minute and address, but for two that count requests in five minutes.
    `strikes_to_ban`: how many requests after the first 429 of a minute turn it into a ban; bans last
    `first_ban_s`, doubling up to `longest_ban_s`.
    """

    seed: int = 1
    spot_limit: int = 6000  # since 2023-08-25: CHANGELOG.md of binance-spot-api-docs
    futures_limit: int = 2400  # fapi exchangeInfo, live 2026-09; shared by dapi since 2026-06-30
    funding_limit: int = 500  # requests in 5 minutes, fundingRate with fundingInfo: their fapi pages
    statistics_limit: int = 1000  # requests in 5 minutes, /futures/data/*: derivatives change log 2023-10-19
    strikes_to_ban: int = 3
    first_ban_s: int = 120  # rest-api.md, IP Limits: bans scale from 2 minutes ...
    longest_ban_s: int = 259_200  # ... to 3 days
    rows_dir: Path | None = None
    symbols: tuple[SymbolSpec, ...] | None = None
    facts: PlayedFacts = PlayedFacts({})  # noqa: RUF009 - it can't be changed
    log_size: int = 100_000
    cached_rows: int = 300_000
    cached_splits: int = 4_096

    def limit(self, family: Family) -> int:
        """Return the family's weight limit a minute."""
        if family == "spot":
            return self.shown_limit("spot")
        return min(self.shown_limit("usdm"), self.shown_limit("coinm"))

    def shown_limit(self, market: Market) -> int:
        """Return the weight limit a minute that a market states."""
        return self.facts.number(market, "weight_limit", self.spot_limit if market == "spot" else self.futures_limit)

    def requests(self, bucket: Bucket) -> int:
        """Return a bucket's limit of requests in five minutes."""
        return self.funding_limit if bucket == "funding" else self.statistics_limit
