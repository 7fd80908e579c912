"""The faults of a soak: what begins one, how long it lasts, and what ends it."""

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench.soak.parts import Parts, Replica

FAMILIES = ("spot", "futures")
BODIES = ("object", "columns", "numbers", "nan", "crossed", "outside", "disorder", "doubled", "html", "truncate",
          "garbage_gzip")  # fmt: skip
STREAMS = ("silent", "stuck", "garbage", "late", "no_finals", "half")
DOORS = ("/ws", "/stream", "/usdm/", "/coinm/")  # of streams
RETRY_AFTER_S = 5
START = "start"  # on an empty Redis: what counts as a fault, and is none
BAN_S = 10.0


# begins a fault upon the parts, or upon the replica that is its victim, and ends it
Begin = Callable[[Parts, Replica, random.Random], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of fault. `restarts`: its victim ends, and is started again."""

    name: str
    begin: Begin
    lasts_s: float = 10.0
    restarts: bool = False


@contextmanager
def banned(parts: Parts, _victim: Replica, draw: random.Random) -> Iterator[None]:
    for family in FAMILIES:
        parts.exchange.act("ban", family=family, seconds=BAN_S)
    maybe_close_streams(parts, draw)
    yield


def maybe_close_streams(parts: Parts, draw: random.Random) -> None:
    """Every other time: hardly anything is read while they last."""
    if draw.random() < 0.5:
        parts.exchange.act("close_streams")


def refused(kind: str, retry_after_s: int | None = None) -> Begin:
    """Every question is answered so, and every handshake of streams."""

    @contextmanager
    def fault(parts: Parts, _victim: Replica, draw: random.Random) -> Iterator[None]:
        parts.exchange.act("fault", kind=kind, retry_after_s=retry_after_s)
        maybe_close_streams(parts, draw)
        yield
        parts.exchange.act("clear_faults")

    return fault


@contextmanager
def broken_bodies(parts: Parts, _victim: Replica, draw: random.Random) -> Iterator[None]:
    for kind in draw.sample(BODIES, len(BODIES)):
        parts.exchange.act("fault", kind=kind, probability=0.3)
    parts.exchange.act("close_streams")  # with streams hardly anything is read
    yield
    parts.exchange.act("clear_faults")


@contextmanager
def slow(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.exchange.act("latency", before_s=1.0, jitter_s=3.0)
    parts.exchange.act("close_streams")
    yield
    parts.exchange.act("latency")


@contextmanager
def gone(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.wire.cut()
    yield
    parts.wire.start()


@contextmanager
def hanging(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.wire.signal(signal.SIGSTOP)
    yield
    parts.wire.signal(signal.SIGCONT)


@contextmanager
def streams_lost(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    for path in DOORS:
        parts.exchange.act("fault", kind="503", path=path)
    parts.exchange.act("close_streams")
    yield
    parts.exchange.act("clear_faults")


@contextmanager
def streams_dropped(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.exchange.act("close_streams")
    yield


def streams(kind: str) -> Begin:
    @contextmanager
    def fault(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
        parts.exchange.act("stream_fault", kind=kind)
        if kind == "half":  # of what is subscribed to
            parts.exchange.act("close_streams")
        yield
        if kind == "late":
            parts.exchange.act("close_streams")  # else frames that are in time come before those that are late
        parts.exchange.act("clear_stream_faults")

    return fault


@contextmanager
def killed(_parts: Parts, victim: Replica, _draw: random.Random) -> Iterator[None]:
    victim.kill()
    yield
    victim.start(wait=False)


@contextmanager
def terminated(_parts: Parts, victim: Replica, _draw: random.Random) -> Iterator[None]:
    victim.end()
    yield
    victim.start(wait=False)


@contextmanager
def stopped(_parts: Parts, victim: Replica, _draw: random.Random) -> Iterator[None]:
    victim.signal(signal.SIGSTOP)
    yield
    victim.signal(signal.SIGCONT)


@contextmanager
def redis_frozen(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.redis.freeze()
    yield
    parts.redis.resume()


@contextmanager
def redis_emptied(parts: Parts, _victim: Replica, _draw: random.Random) -> Iterator[None]:
    parts.redis.stop()
    yield
    parts.redis.start()


TROUBLES = (
    Trouble("ban", banned, BAN_S),
    Trouble("403", refused("403")),
    Trouble("429", refused("429", RETRY_AFTER_S), 8.0),
    Trouble("503", refused("503"), 8.0),
    Trouble("broken bodies", broken_bodies),
    Trouble("slow exchange", slow),
    Trouble("exchange gone", gone, 12.0),
    Trouble("exchange hangs", hanging),
    Trouble("no streams", streams_lost, 12.0),
    Trouble("streams dropped", streams_dropped, 1.0),
    *(Trouble(f"streams {kind}", streams(kind), 12.0) for kind in STREAMS),
    Trouble("SIGKILL", killed, 3.0, restarts=True),
    Trouble("SIGTERM", terminated, 3.0, restarts=True),
    Trouble("SIGSTOP", stopped, 15.0),
    Trouble("Redis hangs", redis_frozen),
    Trouble("Redis emptied", redis_emptied, 3.0),
)


def drawn(draw: random.Random) -> Iterator[Trouble]:
    """Yield faults without end: all of them, in random order, and again."""
    while True:
        yield from draw.sample(TROUBLES, len(TROUBLES))
