"""Three replicas, one Redis and a load balancer in front of the simulated exchange: `make run-replicas`.

    python -m bench.stack [--once]

Shows first that the three use one memory, one budget and one gate, then serves until Ctrl-C; `--once` ends after it.
"""

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from bench.processes import daemon, free_port, need, running, sim

REPLICAS = 3
SHARE = "0.05"  # of 6,000 weight a minute: little, so that a minute of questions reaches it
HIGHEST = 300
CONFIG = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"
SERIES = 20
ASKERS = 4  # of each replica
BAN_S = 60.0
SHARED_WITHIN_S = 200.0


@dataclass(frozen=True)
class Stack:
    """Where everything is: URLs."""

    exchange: str
    replicas: list[str]
    front: str


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis that keeps nothing on disk; yields its URL."""
    program, cli, port = need("redis-server", "redis-server"), need("redis-cli", "redis-tools"), free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            ping = [cli, "-p", str(port), "ping"]
            deadline = time.monotonic() + 30.0
            while subprocess.run(ping, capture_output=True, check=False).stdout.strip() != b"PONG":
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("redis-server did not start")
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def stack(share: str) -> Iterator[Stack]:
    """The whole, with `share` of the limit for all replicas together."""
    program = need("haproxy", "haproxy")
    with contextlib.ExitStack() as running_parts:
        exchange = running_parts.enter_context(sim())
        url = running_parts.enter_context(redis())
        replicas = [
            running_parts.enter_context(daemon(exchange, redis_url=url, weight_share=share))[0] for _ in range(REPLICAS)
        ]
        bind = f"127.0.0.1:{free_port()}"
        env = {f"REPLICA_{n}": urlsplit(replica).netloc for n, replica in enumerate(replicas, 1)}
        command = [program, "-db", "-f", str(CONFIG)]
        running_parts.enter_context(running(command, f"http://{bind}/healthz", env=env | {"BIND": bind}))
        yield Stack(exchange, replicas, f"http://{bind}")


class Counted:
    """What reaches the exchange from now on."""

    def __init__(self, exchange: str) -> None:
        self._url = f"{exchange}/_sim/log?limit=100000"
        self._before = len(self._log())

    def _log(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = httpx.get(self._url, trust_env=False).json()
        return found

    def entries(self, ending: str = "") -> list[dict[str, object]]:
        return [entry for entry in self._log()[self._before :] if str(entry["path"]).endswith(ending)]


def next_minute() -> int:
    """Wait for one: limits count whole UTC minutes; returns its number."""
    time.sleep(60 - time.time() % 60)
    return int(time.time() // 60)


def wait_until_shared(parts: Stack) -> None:
    """After the first start on an empty Redis nobody knows what was spent in this minute; the next ones are shared."""
    print("waiting until the budget is shared …", flush=True)
    deadline = time.monotonic() + SHARED_WITHIN_S
    for url in parts.replicas:
        while (
            httpx.get(f"{url}/v1/status", trust_env=False).json()["stores"]["redis"]["families"]["spot"]["mode"]
            != "shared"
        ):
            if time.monotonic() > deadline:
                sys.exit("the replicas do not share their budget")
            time.sleep(1.0)


async def flood(replicas: list[str], seconds: float) -> int:
    """Questions nobody asked before, of all replicas at once; returns how many were answered."""
    end_s, answered, at = time.monotonic() + seconds, 0, int(time.time()) // 60 * 60_000

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        nonlocal answered
        turn = 0
        while time.monotonic() < end_s:
            start = at - 86_400_000 * (100 + number * 200 + turn)
            turn += 1
            query = f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000"
            with contextlib.suppress(httpx.TransportError):
                answered += (await client.get(f"/api/v3/klines?{query}")).status_code == httpx.codes.OK
            await asyncio.sleep(0.05)

    async with contextlib.AsyncExitStack() as clients:
        askers = []
        for place, replica in enumerate(replicas):
            client = await clients.enter_async_context(httpx.AsyncClient(base_url=replica, timeout=15, trust_env=False))
            askers += [ask(client, place * ASKERS + n) for n in range(ASKERS)]
        await asyncio.gather(*askers)
    return answered


def spent(replica: str) -> float:
    """Weight that a replica spent on spot since it began, by its own metrics."""
    text = httpx.get(f"{replica}/metrics", trust_env=False).text
    lines = (line for line in text.splitlines() if line.startswith('mdcache_upstream_weight_total{market="spot"'))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def show_memory(parts: Stack) -> bool:
    """The same cold series, asked of three replicas at once."""
    info = httpx.get(f"{parts.exchange}/api/v3/exchangeInfo", trust_env=False).json()
    names = [s["symbol"] for s in info["symbols"] if s["status"] == "TRADING" and s["symbol"].isascii()][:SERIES]
    counted = Counted(parts.exchange)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=15, trust_env=False) as client:
            questions = [f"symbol={name}&interval=1h&limit=500" for name in names]
            return await asyncio.gather(
                *(client.get(f"{url}/api/v3/klines?{query}") for query in questions for url in parts.replicas)
            )

    answers = asyncio.run(ask())
    good, calls = sum(a.status_code == httpx.codes.OK for a in answers), len(counted.entries("klines"))
    print(f"one memory: {len(answers)} questions ({SERIES} cold series × {REPLICAS} replicas): {good} answered,")
    print(f"            {calls} calls reached the exchange")
    return good == len(answers) and calls <= SERIES + 2


def show_budget(parts: Stack) -> bool:
    """A minute in which all three could spend the whole share."""
    print(f"one budget: a minute of cold questions to all; allowed are {HIGHEST} weight …", flush=True)
    minute = next_minute()
    counted, before = Counted(parts.exchange), [spent(url) for url in parts.replicas]
    answered = asyncio.run(flood(parts.replicas, 57.0))
    each = [spent(url) - was for url, was in zip(parts.replicas, before, strict=True)]
    sent = [entry for entry in counted.entries() if str(entry["path"]).startswith("/api/")]
    total = sum(int(str(entry["weight"])) for entry in sent if int(str(entry["at_ms"])) // 60_000 == minute)
    print("            " + ", ".join(f"replica {n} spent {weight:.0f}" for n, weight in enumerate(each, 1)))
    print(f"            in that minute {total} together by the exchange's own count; {answered} questions answered")
    return 0.6 * HIGHEST <= total <= HIGHEST


def show_gate(parts: Stack) -> bool:
    """One replica is banned, and the others hear of it."""
    next_minute()
    counted = Counted(parts.exchange)
    httpx.post(f"{parts.exchange}/_sim/ban", json={"family": "spot", "seconds": BAN_S}, trust_env=False)
    query = "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=7"
    first = httpx.get(parts.replicas[0] + query, timeout=15, trust_env=False)
    time.sleep(0.2)
    others = [httpx.get(url + query, timeout=15, trust_env=False) for url in parts.replicas[1:] * 5]
    refused = [entry for entry in counted.entries() if entry["status"] == httpx.codes.IM_A_TEAPOT]
    statuses = sorted({reply.status_code for reply in (first, *others)})
    print(f"one gate:   banned for {BAN_S:.0f} s; {1 + len(others)} questions were answered {statuses},")
    print(f"            {len(refused)} request met the ban; Retry-After {first.headers.get('retry-after')} s")
    return len(refused) == 1 and statuses == [httpx.codes.SERVICE_UNAVAILABLE]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--once", action="store_true", help="end after the show")
    once = parser.parse_args().once
    with stack(SHARE) as parts:
        for n, url in enumerate(parts.replicas, 1):
            print(f"replica {n}   {url}")
        print(f"exchange    {parts.exchange}\nall of them {parts.front}\n", flush=True)
        wait_until_shared(parts)
        shown = [show(parts) for show in (show_memory, show_budget, show_gate)]
        if once:
            return 0 if all(shown) else 1
        print(f"\nserving on {parts.front}, until Ctrl-C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0 if all(shown) else 1


if __name__ == "__main__":
    sys.exit(main())
