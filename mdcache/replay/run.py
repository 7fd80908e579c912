"""Run the replay: simulated exchanges side by side, one asked directly, the others each through a daemon."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product

import httpx

from mdcache.clock import SystemClock
from mdcache.replay.consumers import INTERVALS, WEIGHT, Consumers, OnAnswer, ReplayLoad
from mdcache.replay.processes import daemon, sim, stream_settings
from mdcache.replay.sides import LogEntry, SideResult, side_result

LIMIT = 6_000  # spot's weight limit per minute since 2023-08-25: CHANGELOG.md of binance-spot-api-docs
MINUTE_S = 60
# When the consumers begin; the exchanges' minute begins slightly earlier, so that rounding does not matter.
_START_DELAY_S = 0.5
_MARGIN_S = 0.1
_CLIENT = "127.0.0.1"  # the address of the consumers and of the daemon
_OBSERVER = {"x-sim-client": "replay"}  # our own requests are charged to another address
_TIMEOUT_S = 60.0  # the simulated exchanges compute the candles of the whole run first

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The replay's parameters.

    `limit`: the exchange's weight per minute; `share`: the part the daemon may use; `in_turn`: play the sides one
    after the other, so that a slow or busy machine has less to do at once.
    """

    load: ReplayLoad = field(default_factory=ReplayLoad)
    limit: int = LIMIT
    share: float = 0.5
    in_turn: bool = False


@dataclass(frozen=True, slots=True)
class SideSetup:
    """One side: its name, and how its consumers reach the exchange.

    `daemon`: through a daemon with these `settings`, and with `streams` or without.
    """

    name: str
    daemon: bool = True
    streams: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


SIDES = (SideSetup("direct", daemon=False), SideSetup("rest_only"), SideSetup("mdcache", streams=True))


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """All sides of a plan. `rest_only`: mdcache without streams; `mdcache`: with streams, as it runs by default."""

    plan: ReplayPlan
    direct: SideResult
    rest_only: SideResult
    mdcache: SideResult

    @property
    def uncached_weight(self) -> int:
        """Return the weight per minute of these questions if each were a call."""
        return round(self.mdcache.asked * WEIGHT * MINUTE_S / self.plan.load.seconds)

    @property
    def passed(self) -> bool:
        """Return whether mdcache answered every question, and was neither refused nor banned, on both its sides."""
        return not any(side.failed or side.refused or side.bans for side in (self.rest_only, self.mdcache))


def play(plan: ReplayPlan, on_progress: OnProgress) -> ReplayResult:
    """Run all sides, at once or in turn, each from the beginning of its exchange's minute.

    `on_progress` is called with the side and how many of its questions have ended and failed. Raises `MdcacheError` if
    a process does not start.
    """
    groups: Sequence[Sequence[SideSetup]] = [(side,) for side in SIDES] if plan.in_turn else [SIDES]
    return ReplayResult(plan, *(side for group in groups for side in play_sides(plan, group, on_progress)))


def play_sides(
    plan: ReplayPlan, setups: Sequence[SideSetup], on_progress: OnProgress, on_answer: OnAnswer = lambda _answer: None
) -> list[SideResult]:
    """Run these sides at once. `on_answer` is called with each answer that has candles."""
    clock = SystemClock()
    with ExitStack() as stack:
        exchanges = [stack.enter_context(sim("--limit", str(plan.limit))) for _ in setups]
        symbols = trading_symbols(exchanges[0], plan.load.symbols)
        asyncio.run(_warm_exchanges(exchanges, symbols))
        urls = [_reached_at(stack, plan, setup, each) for setup, each in zip(setups, exchanges, strict=True)]
        step_s = _to_next_minute_s(clock.wall_ms() / 1000 + _START_DELAY_S - _MARGIN_S)
        for exchange in exchanges:  # the daemons have asked nothing yet; they measure the clock at their first read
            _step_clock(exchange, step_s)
        start_s, offset_ms = clock.now() + _START_DELAY_S, round(step_s * 1000)
        start_ms = clock.wall_ms() + round(_START_DELAY_S * 1000) + offset_ms
        crowds = [Consumers(url, symbols, plan.load, clock, offset_ms=offset_ms, on_answer=on_answer) for url in urls]
        asyncio.run(_run_all(crowds, start_s, [setup.name for setup in setups], on_progress))
        return [
            side_result(setup.name, crowd.tally, _log(exchange), _bans(exchange), start_ms, plan.load)
            for setup, crowd, exchange in zip(setups, crowds, exchanges, strict=True)
        ]


def _reached_at(stack: ExitStack, plan: ReplayPlan, setup: SideSetup, exchange: str) -> str:
    """Return the URL that a side's consumers ask; start its daemon, if it has one."""
    if not setup.daemon:
        return exchange
    settings = {"weight_share": str(plan.share), **(stream_settings(exchange) if setup.streams else {})}
    url, _ = stack.enter_context(daemon(exchange, **settings, **setup.settings))
    return url


async def _run_all(crowds: Sequence[Consumers], start_s: float, names: Sequence[str], watch: OnProgress) -> None:
    async def one(crowd: Consumers, name: str) -> None:
        await crowd.run(start_s, lambda ended, failed: watch(name, ended, failed))

    await asyncio.gather(*map(one, crowds, names))


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


def _step_clock(exchange: str, seconds: float) -> None:
    httpx.post(
        f"{exchange}/_sim/step_clock", json={"seconds": seconds}, timeout=_TIMEOUT_S, trust_env=False
    ).raise_for_status()


def trading_symbols(exchange: str, number: int) -> list[str]:
    """Return the first spot symbols that the exchange lists as trading."""
    info = httpx.get(f"{exchange}/api/v3/exchangeInfo", headers=_OBSERVER, timeout=_TIMEOUT_S, trust_env=False).json()
    names = [each["symbol"] for each in info["symbols"] if each["status"] == "TRADING" and each["symbol"].isascii()]
    return names[:number]


def _log(exchange: str) -> list[LogEntry]:
    """Return the exchange's log of the side's own requests."""
    url = f"{exchange}/_sim/log?limit=1000000"
    found: list[LogEntry] = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False).json()
    return [entry for entry in found if entry["client"] == _CLIENT]


def _bans(exchange: str) -> int:
    accounts = httpx.get(f"{exchange}/_sim/status", timeout=_TIMEOUT_S, trust_env=False).json()["accounts"]
    return sum(account["bans"] for account in accounts if account["client"] == _CLIENT)
