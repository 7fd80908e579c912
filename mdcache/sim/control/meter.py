"""Weight counters and bans: one account for each address and family, by fixed UTC minutes (BINANCE 3.2, 3.4).

Buckets count requests besides the weight, by fixed five minutes of UTC; their bans are the futures family's.

A step takes the moment and returns what became of the request. Requests over the limit still count.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Bucket, Family, SimConfig

_MINUTE_MS = 60_000
BUCKET_MINUTES = 5  # Get-Funding-Rate-History page; derivatives change log 2023-10-19
_MOST_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class LimitDecision:
    """What the limiter says: go on, too many (429) or banned (418); for how long, and the count shown.

    `bucket` is set where a bucket was overdrawn, not the weight.
    """

    outcome: Literal["go", "too_many", "banned"]
    used: int | None
    retry_after_s: int | None = None
    until_ms: int | None = None
    bucket: Bucket | None = None


@dataclass(slots=True)
class _Account:
    minute: int = -1
    used: int = 0
    strikes: int = 0
    bans: int = 0
    banned_until_ms: int = 0
    tells_wait: bool = True


@dataclass(slots=True)
class _Count:
    window: int = -1
    requests: int = 0
    strikes: int = 0


class Meter:
    """All accounts of the exchange."""

    def __init__(self, config: SimConfig) -> None:
        self._config = config
        self._accounts: OrderedDict[tuple[Family, str], _Account] = OrderedDict()
        self._everyone: dict[Family, tuple[int, bool]] = {}  # a ban on all addresses: until, tells the wait
        self._counts: OrderedDict[tuple[Bucket, str], _Count] = OrderedDict()

    def charge(
        self, family: Family, client: str, weight: int, at_ms: int, bucket: Bucket | None = None
    ) -> LimitDecision:
        """Count a request and say whether it may go on."""
        account = self._account(family, client, at_ms)
        until_ms, tells_wait = max((account.banned_until_ms, account.tells_wait), self._everyone.get(family, (0, True)))
        if at_ms < until_ms:
            return _banned(account.used, until_ms, at_ms, tells_wait=tells_wait)
        account.used += weight
        if account.used <= self._config.limit(family):
            return self._counted(bucket, client, account, at_ms)
        account.strikes += 1
        if account.strikes > self._config.strikes_to_ban:
            return self._ban_for_strikes(account, at_ms)
        left_ms = _MINUTE_MS - at_ms % _MINUTE_MS
        return LimitDecision("too_many", account.used, retry_after_s=-(-left_ms // 1000))

    def _counted(self, bucket: Bucket | None, client: str, account: _Account, at_ms: int) -> LimitDecision:
        """Count a request that its weight lets go on in its bucket too."""
        if bucket is None:
            return LimitDecision("go", account.used)
        count = self._count(bucket, client, at_ms)
        count.requests += 1
        if count.requests <= self._config.requests(bucket):
            return LimitDecision("go", account.used)
        count.strikes += 1
        if count.strikes > self._config.strikes_to_ban:
            count.strikes = 0
            return self._ban_for_strikes(account, at_ms)
        span_ms = BUCKET_MINUTES * _MINUTE_MS
        left_ms = span_ms - at_ms % span_ms
        return LimitDecision("too_many", account.used, retry_after_s=-(-left_ms // 1000), bucket=bucket)

    def requests(self, bucket: Bucket, client: str, at_ms: int) -> int:
        """The requests an address has made of a bucket in these five minutes."""
        return self._count(bucket, client, at_ms).requests

    def used(self, family: Family, client: str, at_ms: int) -> int:
        """The weight an address has used in this UTC minute."""
        return self._account(family, client, at_ms).used

    def spend(self, family: Family, client: str, weight: int, at_ms: int) -> None:
        """Weight that somebody else behind the same address used."""
        self._account(family, client, at_ms).used += weight

    def ban(self, family: Family, client: str | None, seconds: float, at_ms: int, *, tells_wait: bool = True) -> None:
        """Ban an address (`None`: every address) for some seconds from now."""
        until_ms = at_ms + round(seconds * 1000)
        if client is None:
            self._everyone[family] = (until_ms, tells_wait)
        else:
            account = self._account(family, client, at_ms)
            account.banned_until_ms, account.tells_wait = until_ms, tells_wait

    def unban(self) -> None:
        """Lift every ban and forget how many there were."""
        self._everyone.clear()
        for account in self._accounts.values():
            account.banned_until_ms = account.bans = account.strikes = 0

    def reset(self) -> None:
        """Forget all counts and bans."""
        self._everyone.clear()
        self._accounts.clear()
        self._counts.clear()

    def status(self, at_ms: int) -> list[dict[str, object]]:
        """Every account, for the control door."""
        everyone: list[dict[str, object]] = [
            {"family": family, "client": "*", "banned_until_ms": until_ms}
            for family, (until_ms, _) in self._everyone.items()
            if at_ms < until_ms
        ]
        accounts: list[dict[str, object]] = [
            {
                "family": family,
                "client": client,
                "used": account.used if account.minute == at_ms // _MINUTE_MS else 0,
                "strikes": account.strikes,
                "bans": account.bans,
                "banned_until_ms": account.banned_until_ms,
            }
            for (family, client), account in self._accounts.items()
        ]
        return everyone + accounts

    def buckets(self, at_ms: int) -> list[dict[str, object]]:
        """Every count of these five minutes, for the control door."""
        window = at_ms // (BUCKET_MINUTES * _MINUTE_MS)
        return [
            {"bucket": bucket, "client": client, "requests": count.requests, "strikes": count.strikes}
            for (bucket, client), count in self._counts.items()
            if count.window == window
        ]

    def _count(self, bucket: Bucket, client: str, at_ms: int) -> _Count:
        window = at_ms // (BUCKET_MINUTES * _MINUTE_MS)
        count = self._counts.get((bucket, client))
        if count is None or count.window != window:
            count = self._counts[bucket, client] = _Count(window)
            if len(self._counts) > _MOST_ADDRESSES:
                self._counts.popitem(last=False)
        return count

    def _account(self, family: Family, client: str, at_ms: int) -> _Account:
        account = self._accounts.get((family, client))
        if account is None:
            account = self._accounts[family, client] = _Account()
            if len(self._accounts) > _MOST_ADDRESSES:
                self._accounts.popitem(last=False)
        minute = at_ms // _MINUTE_MS
        if account.minute != minute:
            account.minute, account.used, account.strikes = minute, 0, 0
        return account

    def _ban_for_strikes(self, account: _Account, at_ms: int) -> LimitDecision:
        seconds = min(self._config.first_ban_s * 2**account.bans, self._config.longest_ban_s)
        account.bans += 1
        account.strikes = 0
        account.banned_until_ms, account.tells_wait = at_ms + seconds * 1000, True
        return _banned(account.used, account.banned_until_ms, at_ms, tells_wait=True)


def _banned(used: int, until_ms: int, at_ms: int, *, tells_wait: bool) -> LimitDecision:
    wait_s = -(-(until_ms - at_ms) // 1000)
    return LimitDecision("banned", used, wait_s if tells_wait else None, until_ms)
