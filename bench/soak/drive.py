"""Run a soak: consumers and listeners without a pause, and a fault every 30 s, drawn by a seed."""

import asyncio
import random
import time
from collections.abc import Sequence

from bench.soak.askers import Askers, Series
from bench.soak.hearers import INTERVAL, EventHearer, FrameHearer, Heard
from bench.soak.parts import SHARE, Parts, running_parts
from bench.soak.record import Record
from bench.soak.sampler import Sampler
from bench.soak.troubles import START, Trouble, drawn
from bench.soak.truth import PATHS, Checker
from mdcache.exchange.markets import Market
from mdcache.replay.consumers import INTERVALS
from mdcache.replay.run import trading_symbols

EVERY_S = 30.0
WARM_S = 90.0  # until a minute began in which all share a budget
SETTLED_S = 20.0  # of it, without what a start on an empty Redis may cost
REST_S = 120.0  # after the last fault
CHECK_ONE_OF = 40

PAGE = 1_000  # rows, as a daemon reads them
FUTURES = ("BTCUSDT", "ETHUSDT")
LIMITS = {"spot": 6_000, "futures": 2_400}  # of the simulated exchange, weight a minute


def soak(minutes: float, seed: int, symbols: int, record: Record) -> None:
    """Run it for so long, and fill the record."""
    with running_parts() as parts:
        asyncio.run(_run(parts, trading_symbols(parts.exchange.url, symbols), minutes, seed, record))


async def _run(parts: Parts, symbols: Sequence[str], minutes: float, seed: int, record: Record) -> None:
    series: list[Series] = [(Market.SPOT, symbol, interval) for symbol in symbols for interval in INTERVALS]
    series += [(Market.USDM, symbol, INTERVAL) for symbol in FUTURES]
    allowed = {family: int(SHARE * limit) for family, limit in LIMITS.items()}
    replicas = [each.name for each in parts.replicas]
    checker, heard = Checker(parts.exchange.url, record, CHECK_ONE_OF), Heard()
    askers = Askers(parts.front, series, record, checker)
    sampler = Sampler(parts, record, askers, heard, checker)
    for market, symbol, interval in series:
        await asyncio.to_thread(parts.exchange.warm, PATHS[market], f"symbol={symbol}&interval={interval}&limit={PAGE}")
    record.add("start", minutes=minutes, seed=seed, series=len(series), allowed=allowed, replicas=replicas)
    began_s = time.monotonic()
    third = -(-len(symbols) // 3)
    work = [
        checker.run(),
        sampler.run(),
        sampler.watch_readiness(),
        askers.run_one_by_one(),
        askers.run_at_once([each for each in series if each[0] is Market.SPOT and each[2] == INTERVAL]),
        *(
            FrameHearer(parts.front, Market.SPOT, symbols[first : first + third], record, checker, heard).run()
            for first in range(0, len(symbols), third)
        ),
        FrameHearer(parts.front, Market.USDM, FUTURES, record, checker, heard).run(),
        EventHearer(parts.front, symbols[:5], record, checker, heard).run(),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        await asyncio.sleep(WARM_S - SETTLED_S)
        now_s = time.time()
        record.add("fault", name=START, victim="", began_s=record.entries[0]["at_s"], ended_s=round(now_s, 3))
        await asyncio.sleep(SETTLED_S)
        until_s = began_s + 60 * minutes - REST_S
        await _trouble(parts, sampler, record, random.Random(seed), until_s)
        await asyncio.sleep(REST_S)
        await sampler.sample()
        for task in tasks:
            task.cancel()
    record.add("end")


async def _trouble(parts: Parts, sampler: Sampler, record: Record, draw: random.Random, until_s: float) -> None:
    """Begin a fault every 30 s."""
    faults, due_s = drawn(draw), time.monotonic()
    while due_s < until_s:
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await sampler.count_requests()  # the exchange may forget them
        await _one(parts, record, draw, next(faults))
        due_s += EVERY_S


async def _one(parts: Parts, record: Record, draw: random.Random, trouble: Trouble) -> None:
    victim = draw.choice(parts.replicas[trouble.restarts :])  # the first is never restarted: whether it grows is seen
    began_s = time.time()
    fault = trouble.begin(parts, victim, draw)
    await asyncio.to_thread(fault.__enter__)
    await asyncio.sleep(max(0.0, began_s + trouble.lasts_s - time.time()))
    ending_s = time.time()
    await asyncio.to_thread(fault.__exit__, None, None, None)
    record.add(
        "fault",
        name=trouble.name,
        victim=victim.name,
        began_s=round(began_s, 3),
        ending_s=round(ending_s, 3),
        ended_s=round(time.time(), 3),
    )
