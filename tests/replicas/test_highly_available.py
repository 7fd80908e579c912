"""Sentinel and Cluster end to end: real daemons on a Redis whose masters change, die and come back."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.processes import sim
from tests.support.redis_servers import RedisServer, redis_cluster, redis_sentinels
from tests.support.sim_client import KLINES, FreshQuestions, SimClient
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

IN_TIME_S = 1.5 + 4.0  # the machine has other work
BACK_S = 5.0 + 4.0
TIMEOUT_S = "0.5"

READY_S = 75.0  # a replica that joins others has its part from the next minute on, and is ready then


@dataclass
class Pair:
    """Two daemons on one Redis of several servers."""

    servers: list[RedisServer]
    exchange: SimClient
    daemons: list[DaemonProcess]
    questions: FreshQuestions

    def each_answers(self, times: int = 1) -> None:
        """What is cold, rightly and in time."""
        for _ in range(times):
            for daemon in self.daemons:
                for query in self.questions.cold():
                    assert self.questions.ask(daemon, query, IN_TIME_S)
                ready = daemon.get("/readyz")
                assert ready.status_code == 200, ready.text

    def back(self, within_s: float) -> None:
        """The circuit is closed on both."""
        end_s = time.monotonic() + within_s
        for daemon in self.daemons:
            eventually(daemon.redis_is_up, max(0.1, end_s - time.monotonic()))
            degraded = daemon.get("/readyz").json()["degraded"]
            assert [text for text in degraded if "a limit is spent" not in text] == []

    def share(self) -> None:
        """What one reads, the other need not."""
        one, other = self.daemons
        kept: list[tuple[str, bytes]] = []

        def is_kept() -> bool:
            _, settled = self.questions.cold()  # on a busy machine, a write may take too long, and is not repeated
            body = self.questions.ask(one, settled, IN_TIME_S)
            kept[:] = [(settled, body)]
            symbol, interval = (part.partition("=")[2] for part in settled.split("&")[:2])
            try:
                eventually(lambda: any(each.listens() and each.holds(symbol, interval) for each in self.servers), 10.0)
            except AssertionError:
                return False
            return True

        eventually(is_kept)
        ((settled, body),) = kept
        before = self.exchange.calls(KLINES)
        assert self.questions.ask(other, settled, IN_TIME_S) == body
        assert self.exchange.calls(KLINES) == before


def ready(daemon: DaemonProcess) -> bool:
    return daemon.get("/readyz").status_code == 200


def pair_on(stack: ExitStack, url: str, servers: list[RedisServer]) -> Pair:
    exchange = stack.enter_context(closing(SimClient(stack.enter_context(sim()))))
    settings = {"redis_url": url, "redis_timeout_s": TIMEOUT_S}
    daemons = [stack.enter_context(closing(DaemonProcess(exchange.url, **settings))) for _ in range(2)]
    for daemon in daemons:
        daemon.start(wait=False)
    for daemon in daemons:
        daemon.wait_until_ready()
        eventually(daemon.redis_is_up)
        eventually(partial(ready, daemon), READY_S)
        assert daemon.get(f"{KLINES}?symbol=ETHUSDT&interval=1M&limit=2").status_code == 200
    return Pair(servers, exchange, daemons, FreshQuestions(exchange))


def test_a_sentinel_trio_whose_master_is_killed_and_then_moved_on_request() -> None:
    with redis_sentinels() as ((master, replica), trio), ExitStack() as stack:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in trio)
        pair = pair_on(stack, f"redis+sentinel://{hosts}/main", [master, replica])
        assert {daemon.redis()["form"] for daemon in pair.daemons} == {"sentinel"}
        pair.share()

        master.stop()
        pair.each_answers()
        assert not any(daemon.redis_is_up() for daemon in pair.daemons)
        assert all(daemon.budget_modes() == {"divided"} for daemon in pair.daemons)
        eventually(lambda: leads(replica))
        pair.back(BACK_S)
        pair.share()

        master.start()
        with master.client() as client:
            client.replicaof("127.0.0.1", replica.port)
        eventually(lambda: follows(master, trio))
        with trio[0].client() as client:
            assert client.execute_command("SENTINEL", "FAILOVER", "main")
        pair.each_answers()
        eventually(lambda: leads(master))
        replica.stop()  # which does not know yet that it is no longer the primary
        pair.each_answers()
        pair.back(BACK_S)
        pair.share()
        for daemon in pair.daemons:
            moves = daemon.redis_states()  # a failover in order may cost no more than one call
            assert moves in (["ok", "down", "ok"], ["ok", "down", "ok", "down", "ok"])


def leads(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "master")


def follows(server: RedisServer, trio: list[RedisServer]) -> bool:
    """All Sentinels know it as a replica that may take over."""
    found = []
    for each in trio:
        with each.client() as client:
            found += [one for one in client.sentinel_slaves("main") if int(one["port"]) == server.port]
    return (
        len(found) == len(trio)
        and all(one["flags"] == {"slave"} or one["flags"] == "slave" for one in found)
        and all(one["master-link-status"] == "ok" for one in found)
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(True, id="whole or not at all", marks=pytest.mark.long),
        pytest.param(False, id="what there is"),
    ],
)
def on_cluster(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with redis_cluster(whole=request.param) as servers, ExitStack() as stack:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        yield pair_on(stack, f"redis+cluster://{hosts}", servers)


def test_a_cluster_is_used_in_all_its_parts(on_cluster: Pair) -> None:
    on_cluster.back(BACK_S)
    on_cluster.each_answers(3)
    on_cluster.share()
    for server in on_cluster.servers:
        with server.client() as client:
            assert client.dbsize()


@pytest.mark.parametrize(("which", "how"), [(2, "killed"), (0, "frozen")])
def test_a_cluster_loses_a_master(on_cluster: Pair, which: int, how: str) -> None:
    """The probe's slot is with the first, most of what is asked for with the others."""
    on_cluster.back(BACK_S)
    failures = [daemon.redis()["failures"] for daemon in on_cluster.daemons]
    with lost(on_cluster, which, how):
        end_s = time.monotonic() + 20.0
        while any(
            daemon.redis()["failures"] == before for daemon, before in zip(on_cluster.daemons, failures, strict=True)
        ):
            assert time.monotonic() < end_s
            on_cluster.each_answers()
        on_cluster.each_answers()
    on_cluster.back(BACK_S)
    on_cluster.share()
    for daemon, before in zip(on_cluster.daemons, failures, strict=True):
        assert daemon.redis()["failures"] - before < 60


@contextmanager
def lost(on_cluster: Pair, which: int, how: str) -> Iterator[None]:
    """One of the masters is away, and back at the end whatever happens: the next test uses the same cluster."""
    victim = on_cluster.servers[which]
    victim.stop() if how == "killed" else victim.freeze()
    try:
        yield
    finally:
        victim.start() if how == "killed" else victim.resume()
        eventually(lambda: all(whole(server) for server in on_cluster.servers), PATIENCE_S)


def whole(server: RedisServer) -> bool:
    """It knows that every slot is served."""
    with server.client() as client:
        found = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in found or "'cluster_state': 'ok'" in found
