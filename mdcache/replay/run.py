"""Run the replay: two simulated exchanges side by side, one asked directly, the other through a daemon."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import httpx

from mdcache.clock import SystemClock
from mdcache.replay.consumers import INTERVALS, NO_ANSWER, WEIGHT, Consumers, ConsumerTally, ReplayLoad
from mdcache.replay.processes import daemon, sim

LIMIT = 6_000  # spot's weight limit per minute since 2023-08-25: CHANGELOG.md of binance-spot-api-docs
MINUTE_S = 60
_START_DELAY_S = (
    0.5  # when the consumers begin; the exchanges' minute begins slightly earlier, so that rounding does not matter
)
_MARGIN_S = 0.1
_CLIENT = "127.0.0.1"  # the address of the consumers and of the daemon
_OBSERVER = {"x-sim-client": "replay"}  # our own requests are charged to another address
_BANNED = 418
_REFUSED = frozenset({403, _BANNED, 429})
_TIMEOUT_S = 30.0

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The replay's parameters. `limit`: the exchange's weight per minute; `share`: the part the daemon may use."""

    load: ReplayLoad = field(default_factory=ReplayLoad)
    limit: int = LIMIT
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class SideResult:
    """The result of one side.

    From the consumers: `asked`, `failed` (no candles), `no_answer` (no reply at all), `marked`, `worst_age_s`, `p99_ms`
    and `late_s` (how late a question left, at most). From the exchange's own
    log: `calls`, `weight`, `refused` (403, 418, 429), `bans`, `banned_at_s` (seconds into the run, or `None`). By
    second of the run: `used` (weight in the exchange's minute so far), `answered` and `refusals`.
    """

    name: str
    asked: int
    failed: int
    no_answer: int
    marked: int
    worst_age_s: float
    p99_ms: float
    late_s: float
    calls: int
    weight: int
    refused: int
    bans: int
    banned_at_s: float | None
    used: tuple[int, ...]
    answered: tuple[int, ...]
    refusals: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Both sides of a plan."""

    plan: ReplayPlan
    direct: SideResult
    mdcache: SideResult

    @property
    def uncached_weight(self) -> int:
        """Return the weight per minute of these questions if each were a call."""
        return round(self.mdcache.asked * WEIGHT * MINUTE_S / self.plan.load.seconds)

    @property
    def passed(self) -> bool:
        """Return whether mdcache answered every question, and was neither refused nor banned."""
        return not (self.mdcache.failed or self.mdcache.refused or self.mdcache.bans)


def play(plan: ReplayPlan, on_progress: OnProgress) -> ReplayResult:
    """Run both sides at once, from the beginning of an exchange's minute.

    `on_progress` is called with the side and how many of its questions have ended and failed. Raises `MdcacheError` if
    a process does not start.
    """
    clock = SystemClock()
    with ExitStack() as stack:
        exchanges = [stack.enter_context(sim("--limit", str(plan.limit))) for _ in range(2)]
        symbols = _symbols(exchanges[0], plan.load.symbols)
        asyncio.run(_warm_exchanges(exchanges, symbols))
        url, _ = stack.enter_context(daemon(exchanges[1], weight_share=str(plan.share)))
        step_s = _to_next_minute_s(clock.wall_ms() / 1000 + _START_DELAY_S - _MARGIN_S)
        for exchange in exchanges:  # the daemon has asked nothing yet; it measures the clock at its first read
            _step_clock(exchange, step_s)
        start_s, offset_ms = clock.now() + _START_DELAY_S, round(step_s * 1000)
        start_ms = clock.wall_ms() + round(_START_DELAY_S * 1000) + offset_ms
        crowds = [Consumers(each, symbols, plan.load, clock, offset_ms=offset_ms) for each in (exchanges[0], url)]
        asyncio.run(_run_both(crowds, start_s, on_progress))
        sides = [
            side_result(name, crowd.tally, _log(exchange), _bans(exchange), start_ms, plan.load)
            for name, crowd, exchange in zip(("direct", "mdcache"), crowds, exchanges, strict=True)
        ]
    return ReplayResult(plan, *sides)


async def _run_both(crowds: Sequence[Consumers], start_s: float, watch: OnProgress) -> None:
    direct, mdcache = crowds
    await asyncio.gather(
        direct.run(start_s, lambda ended, failed: watch("direct", ended, failed)),
        mdcache.run(start_s, lambda ended, failed: watch("mdcache", ended, failed)),
    )


async def _warm_exchanges(exchanges: Sequence[str], symbols: Sequence[str]) -> None:
    """Ask each exchange once for the rows of the run, because the simulator has to compute them."""

    async def one(exchange: str) -> None:
        async with httpx.AsyncClient(
            base_url=exchange, headers=_OBSERVER, timeout=_TIMEOUT_S, trust_env=False
        ) as client:
            for symbol, interval in product(symbols, INTERVALS):
                await client.get("/api/v3/klines", params={"symbol": symbol, "interval": interval, "limit": "1000"})

    await asyncio.gather(*map(one, exchanges))


def _to_next_minute_s(at_s: float) -> float:
    """Return how far a clock must be set forward for `at_s` to begin a minute."""
    return -at_s % MINUTE_S


def side_result(
    name: str, tally: ConsumerTally, log: Sequence[dict[str, Any]], bans: int, start_ms: int, load: ReplayLoad
) -> SideResult:
    """Summarise the consumers' tally and the exchange's log (entries of `/_sim/log`)."""
    seconds = math.ceil(load.seconds)
    log = [each for each in log if each["client"] == _CLIENT and 0 <= each["at_ms"] - start_ms < 1000 * seconds]
    banned = next((entry["at_ms"] for entry in log if entry["status"] == _BANNED), None)
    return SideResult(
        name=name,
        asked=tally.asked,
        failed=tally.failed,
        no_answer=tally.statuses[NO_ANSWER],
        marked=tally.marked,
        worst_age_s=round(tally.worst_age_s, 3),
        p99_ms=round(1000 * sorted(tally.seconds)[int(len(tally.seconds) * 0.99)], 1) if tally.seconds else 0.0,
        late_s=round(tally.late_s, 3),
        calls=len(log),
        weight=sum(entry["weight"] for entry in log),
        refused=sum(entry["status"] in _REFUSED for entry in log),
        bans=bans,
        banned_at_s=None if banned is None else round((banned - start_ms) / 1000, 1),
        used=_used_by_second(log, start_ms, seconds),
        answered=tuple(tally.answered[second] for second in range(seconds)),
        refusals=tuple(tally.refused[second] for second in range(seconds)),
    )


def _used_by_second(log: Sequence[dict[str, Any]], start_ms: int, seconds: int) -> tuple[int, ...]:
    """Return the address's weight in its UTC minute at the end of each second of the run, as the exchange counts."""
    spent = [0] * seconds
    for entry in log:
        spent[(entry["at_ms"] - start_ms) // 1000] += entry["weight"]
    used, total = [], 0
    for second, weight in enumerate(spent):
        if (start_ms // 1000 + second) % MINUTE_S == 0:
            total = 0
        total += weight
        used.append(total)
    return tuple(used)


def _step_clock(exchange: str, seconds: float) -> None:
    httpx.post(
        f"{exchange}/_sim/step_clock", json={"seconds": seconds}, timeout=_TIMEOUT_S, trust_env=False
    ).raise_for_status()


def _symbols(exchange: str, number: int) -> list[str]:
    info = httpx.get(f"{exchange}/api/v3/exchangeInfo", headers=_OBSERVER, timeout=_TIMEOUT_S, trust_env=False).json()
    names = [each["symbol"] for each in info["symbols"] if each["status"] == "TRADING" and each["symbol"].isascii()]
    return names[:number]


def _log(exchange: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(
        f"{exchange}/_sim/log?limit=1000000", timeout=_TIMEOUT_S, trust_env=False
    ).json()
    return found


def _bans(exchange: str) -> int:
    accounts = httpx.get(f"{exchange}/_sim/status", timeout=_TIMEOUT_S, trust_env=False).json()["accounts"]
    return sum(account["bans"] for account in accounts if account["client"] == _CLIENT)
