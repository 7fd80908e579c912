"""A history as a list of steps, each of which draws what it does from a seed of its own: any may be left out."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.system.world import WorldOptions

_WEIGHTS: Mapping[str, int] = {
    "ask": 40,
    "wait": 18,
    "close": 8,
    "read_fault": 7,
    "refuse": 5,
    "cable": 3,
    "latency": 2,
    "kill": 3,
    "stop": 1,
    "start": 3,
    "wall": 2,
    "spend": 1,
    "purge": 1,
    "revise": 2,
    "listen": 6,
    "leave": 2,
    "recover": 5,
}
_STREAMS: Mapping[str, int] = {"stream_fault": 6, "handshake_fault": 2, "close_streams": 2, "stop_reading": 2}
_REDIS: Mapping[str, int] = {"redis": 6}
_DISK: Mapping[str, int] = {"disk": 3}


@dataclass(frozen=True)
class Step:
    kind: str
    seed: int

    def rng(self) -> random.Random:
        return random.Random(self.seed)


@dataclass(frozen=True)
class Plan:
    """A whole history; `kept`: the numbers of its steps that are taken, `None`: all."""

    seed: int
    options: WorldOptions
    steps: tuple[Step, ...]

    def only(self, numbers: list[int]) -> list[Step]:
        return [self.steps[n] for n in numbers]


def plan(seed: int, length: int) -> Plan:
    """Return the history of a seed; a longer one begins with the steps of a shorter one."""
    rng = random.Random(seed)
    options = WorldOptions.draw(rng)
    weights = dict(_WEIGHTS)
    for more, wanted in ((_STREAMS, options.streams), (_REDIS, options.redis), (_DISK, options.disk)):
        weights |= more if wanted else {}
    kinds, chances = list(weights), list(weights.values())
    steps = (Step(rng.choices(kinds, chances)[0], rng.getrandbits(48)) for _ in range(length))
    return Plan(seed, options, tuple(steps))
