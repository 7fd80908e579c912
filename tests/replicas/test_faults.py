"""Redis in every kind of trouble, seen from outside: a real server, real daemons, a real exchange's count.

All the while the daemons are asked more of the futures than their budget has, so that each fault also falls upon a
budget that is fought for; the last test looks at what the exchange counted of it in each UTC minute.
"""

import itertools
import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.processes import sim
from tests.world.daemons import Daemon, Exchange, Flood, SlowWire
from tests.world.servers import Server, eventually, free_port, running

PATH = "/api/v3/klines"
MINUTE = 60_000
TIMEOUT_S = 0.5  # of a call to Redis: more than the default, for the machine has other work
SLOWEST_S = 1.5
BACK_S = 5.0
SLACK_S = 4.0  # likewise
FAILURES = 30  # of calls, most that a circuit lets happen before it opens and while it is probed
FUTURES_ALLOWED = 1_200  # half of 2,400 weight
TOKEN = "a-very-secret-token"
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "SOLUSDT")


@dataclass
class Fleet:
    """Three daemons on one Redis; the third by a wire that can be slow."""

    exchange: Exchange
    redis: Server
    wire: SlowWire
    daemons: list[Daemon]
    unasked: Iterator[tuple[str, str]] = field(
        default_factory=lambda: iter(list(itertools.product(SYMBOLS, INTERVALS)))
    )

    def ask(self, daemon: Daemon, query: str, within_s: float) -> bytes:
        """A right answer, in time."""
        began_s = time.monotonic()
        reply = daemon.get(f"{PATH}?{query}")
        took_s = time.monotonic() - began_s
        assert reply.status_code == 200, reply.text
        assert took_s < within_s, f"{took_s:.2f} s for {query}"
        right(reply.content, self.exchange, query, int(reply.headers["x-mdcache-as-of"]))
        return reply.content

    def cold(self) -> list[str]:
        """A question about the end of a series nobody asked for, and one about its settled rows."""
        symbol, interval = next(self.unasked)
        end = int(time.time() * 1000) - 400 * 86_400_000
        return [
            f"symbol={symbol}&interval={interval}&limit=500",
            f"symbol={symbol}&interval={interval}&startTime={end - 30 * 86_400_000}&endTime={end}&limit=400",
        ]

    def each_answers(self, within_s: float) -> None:
        """All do, what is cold and what is not."""
        for daemon in self.daemons:
            for query in self.cold():
                assert self.ask(daemon, query, within_s)
            self.ask(daemon, "symbol=ETHUSDT&interval=3d&limit=100", within_s)

    def share_again(self) -> None:
        """What one reads, the others need not."""
        tail, settled = self.cold()
        one, *others = self.daemons
        body = self.ask(one, settled, SLOWEST_S + SLACK_S)
        series = settled.split("&")[0].removeprefix("symbol="), settled.split("&")[1].removeprefix("interval=")
        eventually(lambda: any("/{}//{}/".format(*series) in key for key in keys(self.redis) if key.endswith("h")))
        before = self.exchange.calls(PATH)
        for other in others:
            assert self.ask(other, settled, SLOWEST_S + SLACK_S) == body
        assert self.exchange.calls(PATH) == before
        assert self.ask(one, tail, SLOWEST_S + SLACK_S)


def right(body: bytes, exchange: Exchange, query: str, as_of_ms: int) -> None:
    """Byte for byte what the exchange says, but for a candle that was open: it moves within a millisecond."""
    truth = exchange.truth(PATH, query, as_of_ms)
    if body == truth:
        return
    found, told = json.loads(body), json.loads(truth)
    assert [row[0] for row in found] == [row[0] for row in told]
    assert [row for row in found if row[6] < as_of_ms - 5] == [row for row in told if row[6] < as_of_ms - 5]


def keys(redis: Server) -> list[str]:
    """All there are."""
    with redis.client() as client:
        return [key.decode() for key in client.scan_iter(count=1_000)]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with ExitStack() as stack:
        redis = stack.enter_context(running())
        wire = stack.enter_context(closing(SlowWire(redis.port)))
        exchange = stack.enter_context(closing(Exchange(stack.enter_context(sim()))))
        settings = {"admin_token": TOKEN, "replicas": "3", "redis_timeout_s": str(TIMEOUT_S)}
        urls = (redis.url, redis.url, f"redis://127.0.0.1:{wire.port}")
        daemons = [stack.enter_context(closing(Daemon(exchange.url, redis_url=url, **settings))) for url in urls]
        for daemon in daemons:
            daemon.start(wait=False)
        for daemon in daemons:
            daemon.awaited()
            eventually(daemon.up)
            for market in ("api/v3", "fapi/v1"):  # clocks measured, symbols known
                assert daemon.get(f"/{market}/klines?symbol=ETHUSDT&interval=1d&limit=2").status_code == 200
        page = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime={start}&limit=1500"
        stack.enter_context(closing(Flood(daemons, page, step_ms=1_500 * MINUTE, pause_s=0.3)))
        yield Fleet(exchange, redis, wire, daemons)


# ---------------------------------------------------------------------------------- it can't be used


@contextmanager
def gone(redis: Server) -> Iterator[None]:
    """Killed; what comes back is empty."""
    redis.stop()
    yield
    redis.start()


@contextmanager
def frozen(redis: Server) -> Iterator[None]:
    """It accepts, and never answers."""
    redis.freeze()
    try:
        yield
    finally:
        redis.thaw()


@contextmanager
def full(redis: Server) -> Iterator[None]:
    """Nothing more can be written."""
    with redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def read_only(redis: Server) -> Iterator[None]:
    """It became somebody's replica."""
    with redis.client() as client:
        client.replicaof("127.0.0.1", free_port())
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def locked(redis: Server) -> Iterator[None]:
    """It asks for a password that nobody was told; connections that it let in before are ended."""
    with redis.client() as client:
        client.config_set("requirepass", "another-hidden-word")
    with redis.client("another-hidden-word") as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


@pytest.mark.parametrize("fault", [gone, frozen, full, read_only, locked])
def test_all_go_on_without_it(fleet: Fleet, fault: Callable[[Server], AbstractContextManager[None]]) -> None:
    for daemon in fleet.daemons:
        eventually(daemon.up)
    moves = [len(daemon.moves()) for daemon in fleet.daemons]
    failures = [daemon.redis()["failures"] for daemon in fleet.daemons]
    with fault(fleet.redis):
        fleet.each_answers(SLOWEST_S + SLACK_S)
        for daemon in fleet.daemons:
            eventually(lambda daemon=daemon: not daemon.up(), SLOWEST_S + SLACK_S)  # type: ignore[misc]
        for daemon in fleet.daemons:
            assert daemon.modes() == {"divided"}
            ready = daemon.get("/readyz")
            assert ready.status_code == 200
            assert any(text.startswith("redis: ") for text in ready.json()["degraded"]), ready.text
            assert "hidden-word" not in ready.text
            assert daemon.metric('mdcache_tier_up{tier="redis"}') == 0
        fleet.each_answers(SLOWEST_S + SLACK_S)
    ended_s = time.monotonic()
    for daemon in fleet.daemons:
        eventually(daemon.up, max(0.1, ended_s + BACK_S + SLACK_S - time.monotonic()))
        assert daemon.get("/readyz").json()["degraded"] == []
        assert daemon.metric('mdcache_tier_up{tier="redis"}') == 1
    fleet.share_again()
    for daemon, moved, failed in zip(fleet.daemons, moves, failures, strict=True):
        assert daemon.moves()[moved:] == ["down", "ok"]
        assert 0 < daemon.redis()["failures"] - failed < FAILURES
        assert daemon.metric('mdcache_tier_errors_total{tier="redis"}') == daemon.redis()["failures"]
        assert "hidden-word" not in str(daemon.lines())


def test_the_first_start_without_it(fleet: Fleet) -> None:
    """Not there, frozen, locked: they serve by the settings' word for how many there are, and find it when it comes."""
    with ExitStack() as stack:
        absent = Server(port=free_port())
        stack.callback(absent.close)
        cold = stack.enter_context(running())
        cold.freeze()
        stack.callback(cold.thaw)
        shut = stack.enter_context(running("--requirepass", "right"))
        urls = {absent: absent.url, cold: cold.url, shut: shut.url.replace("//", "//:hidden-word@")}
        settings = {"weight_share": "0.1", "replicas": "4", "redis_timeout_s": str(TIMEOUT_S)}
        made = [
            stack.enter_context(closing(Daemon(fleet.exchange.url, redis_url=url, egress=f"own-{n}", **settings)))
            for n, url in enumerate(urls.values())
        ]
        for daemon in made:
            daemon.start(wait=False)
        for daemon in made:
            daemon.awaited()
            for query in fleet.cold():
                assert fleet.ask(daemon, query, SLOWEST_S + SLACK_S)
            assert not daemon.up()
            assert daemon.get("/readyz").status_code == 200
            (trouble,) = daemon.get("/readyz").json()["degraded"]
            assert trouble.startswith("redis: ")
            families = daemon.redis()["families"]
            assert {(one["mode"], one["part"]) for one in families.values()} == {("divided", 0.25)}
        assert "hidden-word" not in made[2].get("/v1/status").text + str(made[2].lines())
        absent.start()
        cold.thaw()
        with shut.client("right") as client:
            client.config_set("requirepass", "hidden-word")
        for daemon in made:
            eventually(daemon.up, BACK_S + SLACK_S)
            assert daemon.moves() == ["down", "ok"]
            assert daemon.get("/readyz").json()["degraded"] == []


# ----------------------------------------------------------------------------------- it can hardly be used


def test_one_whose_wire_is_slow_goes_on_and_the_others_do_not_mind(fleet: Fleet) -> None:
    *others, slow = fleet.daemons
    for daemon in fleet.daemons:
        eventually(daemon.up)
    moves = [len(daemon.moves()) for daemon in fleet.daemons]
    fleet.wire.delay_s = TIMEOUT_S / 5  # late, but in time
    failures = slow.redis()["failures"]
    for query in fleet.cold():
        assert fleet.ask(slow, query, SLOWEST_S + SLACK_S)
    assert slow.redis()["failures"] == failures
    fleet.wire.delay_s = 2 * TIMEOUT_S
    fleet.each_answers(SLOWEST_S + SLACK_S)
    eventually(lambda: not slow.up(), SLOWEST_S + SLACK_S)
    assert slow.modes() == {"divided"}
    fleet.each_answers(SLOWEST_S + SLACK_S)
    fleet.wire.delay_s = 0.0
    eventually(slow.up, BACK_S + SLACK_S)
    assert [daemon.moves()[moved:] for daemon, moved in zip(fleet.daemons, moves, strict=True)] == [
        *([] for _ in others),
        ["down", "ok"],
    ]


# ------------------------------------------------------------------------------------- others write in it


KINDS = ("h", "t", "b", "y", "l", "w", "probe", "purges", "ledger")


def kind(key: str) -> str:
    """What of ours a key is: the last letter but for a block's number and a lease's class."""
    found = re.fullmatch(r"mdcache:v1:(?:\{.*\}([htbylw])[^}]*|(probe|purges)|(ledger):\{.*\})", key)
    assert found is not None, key
    return next(part for part in found.groups() if part)


class Vandal:
    """Writes over every key it finds, with whatever `rubbish` says, until it is closed; `met`: what kinds it found."""

    def __init__(self, redis: Server, rubbish: Callable[[Any, str], object]) -> None:
        self.met: set[str] = set()
        self._redis = redis
        self._rubbish = rubbish
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        with self._redis.client() as client:
            while not self._ends.wait(0.03):
                for key in keys(self._redis):
                    self.met.add(kind(key))
                    self._rubbish(client, key)
                    if kind(key) == "b":  # a block's young are there only when it has some
                        self.met.add("y")
                        self._rubbish(client, re.sub(r"\}b(\d+)$", r"}y\1", key))

    def close(self) -> None:
        self._ends.set()
        self._thread.join(30.0)


def noise(client: Any, key: str) -> None:
    """Random bytes in what is a text, and in every field of what is a hash."""
    rng = random.Random(key)
    if client.type(key) == b"hash":
        for name in client.hkeys(key):
            client.hset(key, name, rng.randbytes(60))
    elif client.type(key) == b"list":
        client.lpush(key, rng.randbytes(60))
    else:
        client.set(key, rng.randbytes(200))


def other_types(client: Any, key: str) -> None:
    """Of whatever type ours is not."""
    pipe = client.pipeline(transaction=True)
    pipe.delete(key)
    match random.Random(key).randrange(4):
        case 0:
            pipe.sadd(key, "x") if kind(key) != "h" else pipe.set(key, "x")
        case 1:
            pipe.zadd(key, {"x": 1})
        case 2:
            pipe.xadd(key, {"x": "1"})
        case _:
            pipe.set(key, "x") if kind(key) in {"h", "purges"} else pipe.hset(key, "x", "1")
    pipe.execute()


def torn(client: Any, key: str) -> None:
    """The first half of what is there."""
    if client.type(key) == b"string":
        value = client.get(key) or b""
        client.set(key, value[: len(value) // 2])
    elif client.type(key) == b"hash":
        for name, value in client.hgetall(key).items():
            client.hset(key, name, value[: len(value) // 2])


@pytest.mark.parametrize("rubbish", [noise, other_types, torn])
def test_others_write_under_our_keys(fleet: Fleet, rubbish: Callable[[Any, str], object]) -> None:
    for daemon in fleet.daemons:
        eventually(daemon.up)
    moves = [len(daemon.moves()) for daemon in fleet.daemons]
    order = {"symbol": "TRXUSDT"}
    headers = {"authorization": f"Bearer {TOKEN}"}
    fleet.exchange.act("latency", before_s=0.2, path=PATH)  # so that leases are met, and who waits for them
    with closing(Vandal(fleet.redis, rubbish)) as vandal:
        for _ in range(3):
            for query in fleet.cold():
                both = [threading.Thread(target=daemon.get, args=(f"{PATH}?{query}",)) for daemon in fleet.daemons[1:]]
                for thread in both:
                    thread.start()
                assert fleet.ask(fleet.daemons[0], query, SLOWEST_S + SLACK_S)
                for thread, daemon in zip(both, fleet.daemons[1:], strict=True):
                    thread.join()
                    fleet.ask(daemon, query, SLOWEST_S + SLACK_S)
            purged = fleet.daemons[0].post("/v1/admin/purge", order, headers)
            assert purged.status_code == 200
        assert vandal.met == set(KINDS)
    fleet.exchange.act("latency", path=PATH)
    for daemon, moved in zip(fleet.daemons, moves, strict=True):
        assert daemon.moves()[moved:] == []  # what is written in it says nothing of the server
        assert daemon.get("/readyz").json()["degraded"] == []
    fleet.share_again()


# ------------------------------------------------------------------------------------------ all of it


def test_no_minute_of_it_all_was_over_the_share(fleet: Fleet) -> None:
    spent = fleet.exchange.spent("futures")
    assert max(spent.values()) <= FUTURES_ALLOWED, spent
    assert max(spent.values()) > FUTURES_ALLOWED / 4, spent  # it was fought for
    assert {entry["status"] for entry in fleet.exchange.log()} == {200}
