"""Others write under our keys: every kind of key, and what one may find there instead."""

import random
import re
import threading
from collections.abc import Callable
from typing import Any

from tests.support.redis_servers import RedisServer
from tests.support.waiting import eventually

KINDS = ("h", "t", "b", "y", "l", "w", "c", "d", "u", "probe", "purges", "budget", "gate")


def kind(key: str) -> str:
    """What of ours a key is: the last letter but for a block's number and a lease's class."""
    found = re.fullmatch(r"mdcache:v2:(?:\{.*\}([htbylwcdu])[^}]*|(probe|purges)|(budget|gate):\{.*\})", key)
    assert found is not None, key
    return next(part for part in found.groups() if part)


class Corrupter:
    """Writes over every key it finds, with whatever `corrupt` says, until it is closed.

    `kinds_found`: what it found. `rounds`: how often it wrote over all there was.
    """

    def __init__(self, redis: RedisServer, corrupt: Callable[[Any, str], object]) -> None:
        self.kinds_found: set[str] = set()
        self.rounds = 0
        self._redis = redis
        self._corrupt = corrupt
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        with self._redis.client() as client:
            while not self._ends.wait(0.03):
                for key in self._redis.list_keys():
                    self.kinds_found.add(kind(key))
                    self._corrupt(client, key)
                    if kind(key) == "b":  # a block's young are there only when it has some
                        self.kinds_found.add("y")
                        self._corrupt(client, re.sub(r"\}b(\d+)$", r"}y\1", key))
                self.rounds += 1

    def finish_round(self) -> None:
        """Wait until all that is there now was written over."""
        rounds = self.rounds
        eventually(lambda: self.rounds >= rounds + 2)

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


def numbers(client: Any, key: str) -> None:
    """Another program counts there."""
    match client.type(key):
        case b"hash":
            for name in client.hkeys(key):
                client.hset(key, name, "1e300")
        case b"list":
            client.lpush(key, "17")
        case _:
            client.set(key, "17")


def forged(client: Any, key: str) -> None:
    """A budget with one number changed, or a gate of the right form and wrong inside; elsewhere numbers."""
    match kind(key):
        case "budget":
            fields = [name for name in client.hkeys(key) if name != b"run"]
            name = random.choice(fields or [b"meta"])
            words = (client.hget(key, name) or b"0").split()
            words[random.randrange(len(words))] = random.choice([b"0", b"-1", b"7", b"999999999999999", b"1" * 15])
            client.hset(key, name, b" ".join(words))
        case "gate":
            wrong = [{"version": "999999999999999"}, {"text": '{"state":"closed"}'}, {"quiet_ms": "9" * 15}]
            client.hset(key, mapping=random.choice(wrong))
        case _:
            numbers(client, key)
