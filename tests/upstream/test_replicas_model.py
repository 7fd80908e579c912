"""Three replicas, bans, kills and a store that fails in every way: never over the share, never into a known ban.

Every order of three steps is gone through by `make test-long`, of some first ones with `--exhaustive` (`make test`), of
two otherwise; hypothesis makes longer ways. All in virtual time.
"""

import asyncio
import itertools
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples, thinned
from tests.support.fake_exchange import FakeExchange, refuse
from tests.support.governor_replicas import GovernorReplica, GovernorReplicas
from tests.support.virtual_time import run

BAN_S = 10
KNOWN_S = 0.2  # a ban is received, written, and read by the next replica that asks
SHARE = 100
GATES = ("ban 0", "ban 1", "cut 0", "mend 0", "forget", "restart 2", "pass 15")


@dataclass
class Judge:
    """Records what each replica knew, and what it did then."""

    fleet: GovernorReplicas
    banned_until_s: float = 0.0
    met_s: dict[str, float] = field(default_factory=dict)
    known_s: float = float("inf")
    wrongs: list[str] = field(default_factory=list)

    def fault(self, replica: "Judged") -> httpx.Response | None:
        now_s = self.fleet.clock.now()
        if now_s >= self.banned_until_s:
            return None
        name = replica.name
        informed = replica.follows() and self.known_s + KNOWN_S < now_s
        if self.met_s.get(name, now_s) < now_s - KNOWN_S or informed:
            self.wrongs.append(f"{name} asked in a ban, {self.banned_until_s - now_s:.2f} s before its end")
        self.met_s.setdefault(name, now_s)
        if replica.follows():
            self.known_s = min(self.known_s, now_s)
        return refuse(418, retry_after=str(round(self.banned_until_s - now_s + 1)))

    def ban(self) -> None:
        now_s = self.fleet.clock.now()
        if now_s >= self.banned_until_s:
            self.met_s.clear()
            self.known_s = float("inf")
            self.banned_until_s = now_s + BAN_S


@dataclass
class Judged(httpx.AsyncBaseTransport):
    """A replica's own way to the exchange: whose request it is stands nowhere in it."""

    name: str
    judge: Judge
    exchange: FakeExchange
    replica: GovernorReplica | None = None
    connected_s: float = 0.0

    def follows(self) -> bool:
        """Return whether it has been in touch with the store for long enough."""
        return self.in_touch() and self.judge.fleet.clock.now() - self.connected_s > 3.0

    def in_touch(self) -> bool:
        budgets = [] if self.replica is None else self.replica.budgets.values()
        return bool(budgets) and all(budget.up and not budget.lose_answers for budget in budgets)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.exchange.fault = lambda *_: self.judge.fault(self)
        try:
            return await self.exchange.handle_async_request(request)
        finally:
            self.exchange.fault = None


class Play:
    """The fleet and its judge; `do` takes one step."""

    def __init__(self) -> None:
        self.fleet = GovernorReplicas(share=SHARE)
        self.judge = Judge(self.fleet)
        self.exchange = self.fleet.exchange
        self.ways: list[Judged] = []
        self.replicas: list[GovernorReplica] = []
        self.kept: dict[bytes, dict[bytes, bytes]] = {}

    async def join(self, at: int) -> None:
        way = Judged(f"replica {at}.{self.fleet.names}", self.judge, self.exchange)
        self.fleet.transport = way
        replica = await self.fleet.replica()
        way.replica, way.connected_s = replica, self.fleet.clock.now()
        self.ways[at:at], self.replicas[at:at] = [way], [replica]

    async def do(self, name: str) -> None:
        verb, _, what = name.partition(" ")
        number = int(what or 0)
        match verb:
            case "ban":
                self.judge.ban()
                await self.replicas[number].read(cost=1, within_s=1.0)
            case "cut" | "lose":
                self.replicas[number].disconnect(lose_answers=verb == "lose")
            case "mend":
                self.mend(number)
            case "forget" | "fail":
                self.fleet.server.restart(empty=verb == "forget")
                if verb == "fail":
                    self.fleet.server.hashes.update({key: dict(value) for key, value in self.kept.items()})
                if verb == "fail":  # the replica that reported it has to do so again
                    self.judge.known_s = max(self.judge.known_s, self.fleet.clock.now() + 3.0)
            case "restart":
                await self.replicas.pop(number).kill()
                self.ways.pop(number)
                await self.join(number)
            case "pass":
                self.kept = {key: dict(value) for key, value in self.fleet.server.hashes.items()}
                await self.fleet.clock.sleep(number)
        await asyncio.gather(*(replica.read(cost=1, within_s=0.5) for replica in self.replicas))

    def mend(self, number: int) -> None:
        if not self.ways[number].in_touch():
            self.replicas[number].reconnect()
            self.ways[number].connected_s = self.fleet.clock.now()

    def check(self) -> None:
        assert not self.judge.wrongs, self.judge.wrongs
        assert max(self.fleet.spent().values(), default=0) <= SHARE, self.fleet.spent()


async def play(steps: tuple[str, ...], *, loads: bool = False) -> None:
    stage = Play()
    for at in range(3):
        await stage.join(at)
    await stage.fleet.clock.sleep(70.0)
    if loads:
        for replica in stage.replicas:
            replica.load(1.0)
    for name in steps:
        await stage.do(name)
        stage.check()
        await stage.fleet.clock.sleep(0.5)
    for number in range(len(stage.replicas)):
        stage.mend(number)
    await stage.fleet.clock.sleep(BAN_S * 4)
    stage.check()
    for replica in stage.replicas:
        await replica.aclose()


@pytest.mark.untraced
@pytest.mark.parametrize("first", thinned(GATES, 3, 7))
def test_every_order_of_steps(first: str, pytestconfig: pytest.Config) -> None:
    further = 2 if pytestconfig.getoption("exhaustive") else 1
    for rest in itertools.product(GATES, repeat=further):
        run(play((first, *rest)))


some = st.sampled_from(
    [
        *("ban 0", "ban 1", "ban 2", "cut 0", "cut 1", "lose 1", "lose 2", "mend 0", "mend 1", "mend 2"),
        *("forget", "fail", "restart 0", "restart 2", "pass 1", "pass 5", "pass 15", "pass 37"),
    ]
)


@pytest.mark.exhaustive
@pytest.mark.untraced
@examples(12, 200)
@given(steps=st.lists(some, min_size=3, max_size=10))
def test_kills_and_faults_in_any_order(steps: list[str]) -> None:
    run(play(tuple(steps), loads=True))
