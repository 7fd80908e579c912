"""Three replicas, one Redis and a load balancer in front of the simulated exchange: `make run-replicas`.

    python -m bench.stack [--once]

Shows first that the three have one memory, one time, one budget and one gate (some three minutes), then serves until
Ctrl-C; `--once` ends after the show, with exit code 1 where something was not as it should be.
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
from types import FrameType
from urllib.parse import urlsplit

import httpx

from bench.processes import daemon, free_port, running, sim
from tests.support.programs import find

REPLICAS = 3
SHARE = 0.1  # little enough for a minute of questions to reach it
LIMIT = 6_000  # spot's, weight a minute, by the simulated exchange's exchangeInfo
ALLOWED = int(SHARE * LIMIT)
CONFIG = Path(__file__).parents[1] / "deploy" / "haproxy" / "haproxy.cfg"
SERIES = 20
READERS = 60  # questions for one candle through the balancer
ASKERS = 6  # of each replica
BAN_S = 20.0
SHARED_WITHIN_S = 200.0
OPEN_WITHIN_S = 60.0
CANDLES = "/api/v3/klines"
INTERRUPTED = 130
WIDTH = 13


@dataclass(frozen=True)
class Stack:
    """Where everything is: URLs."""

    exchange: str
    redis: str
    replicas: list[str]
    front: str


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis that keeps nothing on disk; yields its URL."""
    program, cli, port = find("redis-server"), find("redis-cli"), free_port()
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
def stack() -> Iterator[Stack]:
    """The whole, with `SHARE` of the limit for all replicas together."""
    program = find("haproxy")
    with contextlib.ExitStack() as parts:
        url, exchange = parts.enter_context(redis()), parts.enter_context(sim())
        replicas = [
            parts.enter_context(daemon(exchange, redis_url=url, replicas=str(REPLICAS), weight_share=str(SHARE)))[0]
            for _ in range(REPLICAS)
        ]
        bind = f"127.0.0.1:{free_port()}"
        env = {f"REPLICA_{n}": urlsplit(replica).netloc for n, replica in enumerate(replicas, 1)}
        command = [program, "-db", "-f", str(CONFIG)]
        parts.enter_context(running(command, f"http://{bind}/healthz", env=env | {"BIND": bind}))
        yield Stack(exchange, url, replicas, f"http://{bind}")


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


def say(name: str, *lines: str) -> None:
    for n, line in enumerate(lines):
        print(f"{name if n == 0 else '':<{WIDTH}}{line}", flush=True)


def judged(good: bool) -> bool:
    """`good`, and said so."""
    say("", "as it should be\n" if good else "THIS IS NOT AS IT SHOULD BE\n")
    return good


def next_minute() -> int:
    """Wait for one: limits count whole UTC minutes; returns its number."""
    time.sleep(60 - time.time() % 60)
    return int(time.time() // 60)


def wait_until_shared(parts: Stack) -> None:
    """After the first start on an empty Redis, what was spent in this minute is unknown; the next ones are shared."""
    say("", "Redis is empty, so nobody knows what was spent in this minute: until the next one each replica has")
    say("", "a part of the budget. Waiting for it …\n")
    deadline = time.monotonic() + SHARED_WITHIN_S
    for url in parts.replicas:  # each measures the exchange's clock: until then it does not know which minute it is
        httpx.get(f"{url}/api/v3/time", timeout=15, trust_env=False)
    for url in parts.replicas:
        while _sharing(url) != "shared":
            if time.monotonic() > deadline:
                sys.exit("the replicas do not share their budget")
            time.sleep(1.0)


def _sharing(url: str) -> str:
    status = httpx.get(f"{url}/v1/status", trust_env=False).json()
    mode: str = status["stores"]["redis"]["families"]["spot"]["mode"]
    return mode


async def flood(replicas: list[str], seconds: float) -> int:
    """Ask new questions of all replicas at once; return how many were answered."""
    end_s, answered, at = time.monotonic() + seconds, 0, int(time.time()) // 60 * 60_000

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        nonlocal answered
        turn = 0
        while time.monotonic() < end_s:
            start = at - 86_400_000 * (100 + number * 200 + turn)
            turn += 1
            query = f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000"
            reply = await client.get(f"{CANDLES}?{query}")
            answered += reply.status_code == httpx.codes.OK
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
    say("one memory", f"{SERIES} series that nobody knows yet, each asked of all {REPLICAS} replicas at once …")
    counted = Counted(parts.exchange)

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=15, trust_env=False) as client:
            questions = [f"symbol={name}&interval=1h&limit=500" for name in names]
            return await asyncio.gather(
                *(client.get(f"{url}{CANDLES}?{query}") for query in questions for url in parts.replicas)
            )

    answers = asyncio.run(ask())
    good, calls = sum(a.status_code == httpx.codes.OK for a in answers), len(counted.entries("klines"))
    say("", f"{len(answers)} questions, {good} answered; {calls} calls reached the exchange (alone: {len(answers)})")
    return judged(good == len(answers) and calls <= SERIES + 2)


def show_time(parts: Stack) -> bool:
    """One reader through the balancer, which asks another replica each time."""
    say("one time", f"one reader asks the balancer {READERS} times for the open candle, and says what it saw last …")
    counted, saw, back = Counted(parts.exchange), 0, 0
    with httpx.Client(base_url=parts.front, timeout=15, trust_env=False) as client:
        for _ in range(READERS):
            query = f"{CANDLES}?symbol=ETHUSDT&interval=1m&limit=5"
            reply = client.get(query, headers={"X-MDCache-Min-As-Of": str(saw)}).raise_for_status()
            as_of = int(reply.headers["x-mdcache-as-of"])
            back, saw = back + (as_of < saw), as_of
            time.sleep(0.1)
    calls = len(counted.entries("klines"))
    say("", f"{back} answers were older than the one before; {calls} calls reached the exchange")
    return judged(back == 0 and calls <= READERS // 3)


def show_budget(parts: Stack) -> bool:
    """A minute in which all three could spend the whole share."""
    allowed = f"{SHARE:.0%} of {LIMIT} weight a minute: {ALLOWED} for all together"
    say("one budget", f"allowed are {allowed}.", "In the next minute all are asked for more than that …")
    minute = next_minute()
    counted, before = Counted(parts.exchange), [spent(url) for url in parts.replicas]
    answered = asyncio.run(flood(parts.replicas, 57.0))
    each = [spent(url) - was for url, was in zip(parts.replicas, before, strict=True)]
    sent = [entry for entry in counted.entries() if str(entry["path"]).startswith("/api/")]
    total = sum(int(str(entry["weight"])) for entry in sent if int(str(entry["at_ms"])) // 60_000 == minute)
    say("", ", ".join(f"replica {n} spent {weight:.0f}" for n, weight in enumerate(each, 1)))
    say("", f"together {total} in that minute, by the exchange's own count; {answered} questions answered")
    return judged(0.6 * ALLOWED <= total <= ALLOWED and min(each) > 0)


def show_gate(parts: Stack) -> bool:
    """Ban one replica, and check that the others learn of it."""
    next_minute()
    say("one gate", f"the exchange bans the address for {BAN_S:.0f} s; one replica meets the ban, then all are asked …")
    counted = Counted(parts.exchange)
    httpx.post(f"{parts.exchange}/_sim/ban", json={"family": "spot", "seconds": BAN_S}, trust_env=False)
    query = f"{CANDLES}?symbol=BTCUSDT&interval=1d&limit=7"
    first = httpx.get(parts.replicas[0] + query, timeout=15, trust_env=False)
    time.sleep(0.2)
    others = [httpx.get(url + query, timeout=15, trust_env=False) for url in parts.replicas[1:] * 5]
    statuses = sorted({reply.status_code for reply in (first, *others)})
    said = f"Retry-After {first.headers.get('retry-after')} s"
    say("", f"{1 + len(others)} questions were answered {', '.join(map(str, statuses))} with {said}")
    again = all(_answers(url + query) for url in parts.replicas)
    refused = [entry for entry in counted.entries() if entry["status"] == httpx.codes.IM_A_TEAPOT]
    say("", f"{len(refused)} request met the ban; after it all three {'answer' if again else 'DO NOT answer'} again")
    return judged(len(refused) == 1 and statuses == [httpx.codes.SERVICE_UNAVAILABLE] and again)


def _answers(url: str) -> bool:
    deadline = time.monotonic() + BAN_S + OPEN_WITHIN_S
    while time.monotonic() < deadline:
        if httpx.get(url, timeout=15, trust_env=False).status_code == httpx.codes.OK:
            return True
        time.sleep(1.0)
    return False


def play(*, once: bool) -> int:
    """The show, then the service."""
    print("starting a simulated exchange, Redis, three replicas and HAProxy …\n", flush=True)
    with stack() as parts:
        for n, url in enumerate(parts.replicas, 1):
            say(f"replica {n}", url)
        say("redis", parts.redis)
        say("exchange", parts.exchange)
        say("all of them", f"{parts.front}\n")
        wait_until_shared(parts)
        shown = [show(parts) for show in (show_memory, show_time, show_budget, show_gate)]
        if not once:
            port = urlsplit(parts.redis).port
            say("serving", f"on {parts.front}, until Ctrl-C. Try:\n")
            print(f"  curl -i '{parts.front}{CANDLES}?symbol=BTCUSDT&interval=1m&limit=5'")
            print(f"  curl {parts.replicas[0]}/v1/status         # stores.redis: who shares what; / is a page")
            print(f"  redis-cli -p {port} --scan | head           # what lies there")
            print(
                f"  redis-cli -p {port} client pause 20000      # Redis hangs: /readyz says so, answers go on\n",
                flush=True,
            )
            signal.pause()
    return 0 if all(shown) else 1


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what was started is ended in peace
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Three replicas with one Redis, and what they share.")
    parser.add_argument("--once", action="store_true", help="end after the show")
    once = parser.parse_args().once
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        return play(once=once)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
