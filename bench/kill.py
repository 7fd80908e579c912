"""kill -9 at random moments under load: what was shown stays known, and no byte of it differs.

    python -m bench.kill [KILLS]

Real processes: the simulated exchange, and a daemon on one folder that is killed KILLS times (100 by default) while
clients poll tails and page through history. After each start, every settled question that was answered over a
second before the kill is asked again with `only-if-cached`: the answer must be there, and be the exchange's own.
"""

import asyncio
import contextlib
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field

import httpx

from bench.processes import daemon, sim

_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT")
_INTERVALS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
_PATHS = ("/api/v3/klines", "/fapi/v1/klines")
_WRITTEN_S = 1.0  # docs/design.md#stores: written within a second of settling
_ASK_AGAIN = 120  # questions after each start
_SETTLED_MS = 120_000  # a row that closed so long ago settles by one read


@dataclass
class Shown:
    """Settled questions that were answered, and when (monotonic seconds)."""

    at_s: dict[str, float] = field(default_factory=dict)

    def before(self, moment_s: float) -> list[str]:
        return [question for question, at_s in self.at_s.items() if at_s < moment_s]


def settled_question(rng: random.Random) -> str:
    """A range that closed minutes ago, often the same few, so that blocks grow and are revised."""
    interval, length_ms = rng.choice(list(_INTERVALS.items()))
    now_ms = int(time.time() * 1000)
    rows = rng.choice([1, 10, 100, 500])
    age = rng.choice([0, 0, rng.randrange(3_000)])
    end = (now_ms - _SETTLED_MS) // length_ms * length_ms - length_ms * (1 + age)
    start = end - (rows - 1) * length_ms
    symbol, path = rng.choice(_SYMBOLS), rng.choice(_PATHS)
    return f"{path}?symbol={symbol}&interval={interval}&startTime={start}&endTime={end}&limit={rows}"


async def load(url: str, rng: random.Random, shown: Shown) -> None:
    """Polls and pages until it is cancelled, or the daemon is gone."""

    async def one(question: str, *, settled: bool) -> None:
        with contextlib.suppress(httpx.TransportError):
            reply = await client.get(question)
            if settled and reply.status_code == httpx.codes.OK:
                shown.at_s.setdefault(question, time.monotonic())

    async with httpx.AsyncClient(base_url=url, timeout=10.0, trust_env=False) as client:
        while True:
            symbol = rng.choice(_SYMBOLS)
            tail = f"{rng.choice(_PATHS)}?symbol={symbol}&interval={rng.choice(list(_INTERVALS))}&limit=500"
            await asyncio.gather(one(tail, settled=False), one(settled_question(rng), settled=True))
            await asyncio.sleep(rng.uniform(0.0, 0.1))


def check(url: str, upstream: str, questions: list[str]) -> list[str]:
    """What is wrong with the answers to what was shown."""
    wrong = []
    with (
        httpx.Client(base_url=url, timeout=10.0, trust_env=False) as client,
        httpx.Client(base_url=f"{upstream}/_sim/truth", timeout=10.0, trust_env=False) as exchange,
    ):
        for question in questions:
            reply = client.get(question, headers={"cache-control": "only-if-cached"})
            path, _, query = question.partition("?")
            truth = exchange.get("", params={"path": path, "query": query})
            if reply.status_code != httpx.codes.OK:
                wrong.append(f"{reply.status_code} for {question}")
            elif reply.content != truth.content:
                wrong.append(f"another answer for {question}")
    return wrong


async def life(url: str, rng: random.Random, shown: Shown, seconds: float) -> None:
    task = asyncio.gather(*(load(url, rng, shown) for _ in range(4)))
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main(kills: int) -> int:
    rng = random.Random(20_261_104)
    shown, wrong, asked = Shown(), [], 0
    with sim() as upstream, tempfile.TemporaryDirectory() as folder:
        known: list[str] = []
        for number in range(kills + 1):
            with daemon(upstream, state_dir=folder, weight_share="0.9") as (url, process):
                again = rng.sample(known, min(len(known), _ASK_AGAIN))
                found = check(url, upstream, again)
                asked += len(again)
                wrong += found
                for line in found[:3]:
                    print(f"after kill {number}: {line}")
                if number == kills:
                    break
                asyncio.run(life(url, rng, shown, rng.uniform(0.2, 4.0)))
                process.kill()
                process.wait()
                known = shown.before(time.monotonic() - _WRITTEN_S)
                shown.at_s = dict.fromkeys(known, 0.0)
    print(f"{kills} kills, {asked} settled questions asked again: {len(wrong)} wrong or asked of Binance")
    return 1 if wrong or not asked else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
