"""Count the weight of each address and family, and ban those over the limit (docs/binance.md#minute, #refusals).

Weight is counted by fixed UTC minutes. Buckets count requests in addition to weight, by fixed five minutes of UTC;
their bans are the futures family's. Each step takes the time and returns the decision on the request; requests over the
limit still count.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Bucket, Family, SimConfig

BUCKET_MINUTES = 5  # Get-Funding-Rate-History page; derivatives change log 2023-10-19
_MINUTE_MS = 60_000
_SPANS_MS: dict[str, int] = {
    "spot": _MINUTE_MS,
    "futures": _MINUTE_MS,
    "funding": BUCKET_MINUTES * _MINUTE_MS,
    "statistics": BUCKET_MINUTES * _MINUTE_MS,
}
_MOST_COUNTS = 20_000  # clients choose their addresses


@dataclass(frozen=True, slots=True)
class LimitDecision:
    """The limiter's decision: continue, too many (429) or banned (418); for how long, and the weight to report.

    `bucket`: set if a bucket was overdrawn, not the weight.
    """

    outcome: Literal["go", "too_many", "banned"]
    used: int
    retry_after_s: int | None = None
    until_ms: int | None = None
    bucket: Bucket | None = None


@dataclass(slots=True)
class _Count:
    """The weight or requests of one time window, and how often it was overdrawn."""

    window: int
    used: int = 0
    strikes: int = 0


@dataclass(slots=True)
class _Ban:
    """The current or last ban of an address, and how many it had."""

    until_ms: int = 0
    retry_after: bool = True
    bans: int = 0


class Meter:
    """All counts and bans of the exchange."""

    def __init__(self, config: SimConfig) -> None:
        self._config = config
        self._counts: OrderedDict[tuple[Family | Bucket, str], _Count] = OrderedDict()
        self._bans: OrderedDict[tuple[Family | Bucket, str], _Ban] = OrderedDict()
        self._everyone: dict[Family, _Ban] = {}

    def charge(
        self, family: Family, client: str, weight: int, at_ms: int, bucket: Bucket | None = None
    ) -> LimitDecision:
        """Count a request and decide whether to answer it.

        Args:
            family: The counter to charge.
            client: The address.
            weight: The weight of the request.
            at_ms: The moment, in milliseconds since the Unix epoch.
            bucket: The bucket in which the request also counts, if any.
        """
        shown = self._count(family, client, at_ms)
        ban = max(self._ban(family, client), self._everyone.get(family, _Ban()), key=lambda one: one.until_ms)
        if at_ms >= ban.until_ms:
            shown.used += weight
            count, over = shown, shown.used > self._config.limit(family)
            overdrawn: Bucket | None = None
            if not over and bucket is not None:
                count = self._count(bucket, client, at_ms)
                count.used += 1
                over, overdrawn = count.used > self._config.requests(bucket), bucket
            if not over:
                return LimitDecision("go", shown.used)
            count.strikes += 1
            if count.strikes <= self._config.strikes_to_ban:
                span_ms = _SPANS_MS[overdrawn or family]
                return LimitDecision("too_many", shown.used, _seconds(span_ms - at_ms % span_ms), bucket=overdrawn)
            count.strikes = 0
            ban = self._ban(family, client)
            seconds = min(self._config.first_ban_s * 2**ban.bans, self._config.longest_ban_s)
            ban.until_ms, ban.retry_after, ban.bans = at_ms + seconds * 1000, True, ban.bans + 1
        wait_s = _seconds(ban.until_ms - at_ms) if ban.retry_after else None
        return LimitDecision("banned", shown.used, wait_s, ban.until_ms)

    def used(self, family: Family, client: str, at_ms: int) -> int:
        """Return the weight an address has used in this UTC minute."""
        return self._count(family, client, at_ms).used

    def spend(self, family: Family, client: str, weight: int, at_ms: int) -> None:
        """Add weight that another client behind the same address used."""
        self._count(family, client, at_ms).used += weight

    def ban(self, family: Family, client: str | None, seconds: float, at_ms: int, *, retry_after: bool = True) -> None:
        """Ban an address (`None`: every address) for some seconds from now."""
        ban = self._everyone.setdefault(family, _Ban()) if client is None else self._ban(family, client)
        ban.until_ms, ban.retry_after = at_ms + round(seconds * 1000), retry_after

    def unban(self) -> None:
        """Lift every ban, and reset their number."""
        self._everyone.clear()
        self._bans.clear()
        for count in self._counts.values():
            count.strikes = 0

    def reset(self) -> None:
        """Forget all counts and bans."""
        self._everyone.clear()
        self._bans.clear()
        self._counts.clear()

    def status(self, at_ms: int) -> dict[str, list[dict[str, object]]]:
        """Return every account and every bucket's count, as JSON types."""
        accounts: list[dict[str, object]] = [
            {"family": family, "client": "*", "banned_until_ms": ban.until_ms}
            for family, ban in self._everyone.items()
            if at_ms < ban.until_ms
        ]
        buckets: list[dict[str, object]] = []
        for (counted, client), count in self._counts.items():
            current = count.window == at_ms // _SPANS_MS[counted]
            if counted in {"funding", "statistics"}:
                row = {"bucket": counted, "client": client, "requests": count.used, "strikes": count.strikes}
                buckets += [row] if current else []
                continue
            ban = self._bans.get((counted, client), _Ban())
            accounts.append(
                {
                    "family": counted,
                    "client": client,
                    "used": count.used if current else 0,
                    "strikes": count.strikes,
                    "bans": ban.bans,
                    "banned_until_ms": ban.until_ms,
                }
            )
        return {"accounts": accounts, "buckets": buckets}

    def _count(self, counted: Family | Bucket, client: str, at_ms: int) -> _Count:
        window = at_ms // _SPANS_MS[counted]
        count = self._counts.get((counted, client))
        if count is None or count.window != window:
            count = self._counts[counted, client] = _Count(window)
            if len(self._counts) > _MOST_COUNTS:
                self._counts.popitem(last=False)
        return count

    def _ban(self, family: Family, client: str) -> _Ban:
        ban = self._bans.get((family, client))
        if ban is None:
            ban = self._bans[family, client] = _Ban()
            if len(self._bans) > _MOST_COUNTS:
                self._bans.popitem(last=False)
        return ban


def _seconds(ms: int) -> int:
    return -(-ms // 1000)
