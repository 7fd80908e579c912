"""Random questions of every kind, drawn so that the edges are asked more often than the middle."""

import random
from dataclasses import dataclass

from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market, Subject

DAY = 86_400_000
SUBJECTS = {
    Market.SPOT: ["BTCUSDT", "SOLUSDT", "BCCUSDT", "NEWUSDT", "QUIETUSDT", "SOONUSDT", "币安人生USDT"],
    Market.USDM: ["BTCUSDT", "FTMUSDT", "BTCUSDT_261225", "SOONUSDT"],
    Market.COINM: ["BTCUSD_PERP", "DOTUSD_PERP", "BTCUSD_270326"],
}
PAIRS = {Market.USDM: ["BTCUSDT", "FTMUSDT"], Market.COINM: ["BTCUSD", "ETHUSD"]}
ODD_MOMENTS = [  # starts, middles and ends of outages, listings, months and years
    0,
    1_502_942_400_000,  # BTCUSDT's first hour
    1_518_049_694_788,
    1_518_100_000_000,
    1_518_170_400_000,
    1_542_333_600_000,  # BCCUSDT's halt
    1_577_836_800_000,
    1_582_939_800_000,
    1_679_661_581_646,
    1_679_666_400_000,
    1_755_000_000_000,
    1_790_773_200_000 - 28 * DAY,
    1_793_278_800_000,  # NEWUSDT begins
]


@dataclass(frozen=True)
class RandomQuestion:
    path: str
    query: str
    headers: tuple[tuple[str, str], ...] = ()


def draw(rng: random.Random, now_ms: int, *, paths: list[str] | None = None, limit: int = 60) -> RandomQuestion:
    """One question that Binance would take."""
    rule = KLINE_ENDPOINTS[rng.choice(paths or sorted(KLINE_ENDPOINTS))]
    spot = rule.market is Market.SPOT
    interval = rng.choice([name for name in INTERVALS if spot or name not in SPOT_ONLY])
    parts = [f"interval={interval}"]
    if rule.subject is Subject.PAIR:
        parts.append(f"pair={rng.choice(PAIRS[rule.market])}")
    else:
        parts.append(f"symbol={rng.choice(SUBJECTS[rule.market])}")
    if rule.contract_types:
        parts.append(f"contractType={rng.choice(rule.contract_types[:2])}")
    parts += _times(rng, rule, INTERVALS[interval].length_ms, now_ms)
    if rng.random() < 0.9:
        parts.append(f"limit={rng.choice([1, 2, 3, rng.randrange(1, limit)])}")
    headers: tuple[tuple[str, str], ...] = ()
    if spot and rng.random() < 0.15:
        parts.append(f"timeZone={rng.choice(['8', '-3:30', '05:45', '14', '-12:00', '0'])}")
    if spot and rng.random() < 0.1:
        headers = (("x-mbx-time-unit", "MICROSECOND"),)
    rng.shuffle(parts)
    return RandomQuestion(rule.path, "&".join(parts), headers)


def _times(rng: random.Random, rule: KlineEndpoint, length_ms: int, now_ms: int) -> list[str]:
    start = _moment(rng, length_ms, now_ms) if rng.random() < 0.5 else None
    end = _moment(rng, length_ms, now_ms) if rng.random() < 0.5 else None
    if start is not None and end is not None and rule.market is not Market.SPOT:
        start, end = min(start, end), max(start, end)
        end = end if rule.max_span_ms is None else min(end, start + rule.max_span_ms)
    return [f"{name}={t}" for name, t in (("startTime", start), ("endTime", end)) if t is not None]


def _moment(rng: random.Random, length_ms: int, now_ms: int) -> int:
    dice = rng.random()
    if dice < 0.15:
        return rng.choice([*ODD_MOMENTS, now_ms, now_ms + 1, now_ms + 5 * length_ms, now_ms + 400 * DAY])
    if dice < 0.6:
        t = now_ms - rng.randrange(0, 80 * length_ms)
    elif dice < 0.8:
        t = rng.choice(ODD_MOMENTS) + rng.randrange(-40 * length_ms, 40 * length_ms)
    else:
        t = rng.randrange(1_500_000_000_000, now_ms)
    t = max(0, t)
    return t - t % length_ms if rng.random() < 0.4 else t
