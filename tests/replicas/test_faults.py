"""Redis in every kind of trouble, seen from outside: a real server, real daemons, a real exchange's count.

All the while the daemons are asked more of the futures than their budget has, so that each fault also falls upon a
budget that is fought for; the last test looks at what the exchange counted of it in each UTC minute.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.support.daemon_process import ColdLoad, DaemonProcess, SlowProxy
from tests.support.examples import long
from tests.support.processes import sim
from tests.support.redis_corruption import KINDS, Corrupter, forged, kind, noise, numbers, other_types, torn
from tests.support.redis_servers import RedisServer, free_port, running_redis
from tests.support.redis_troubles import frozen, full, gone, read_only
from tests.support.sim_client import KLINES, FreshQuestions, SimClient
from tests.support.waiting import eventually

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

TRADES = "/api/v3/aggTrades"
MINUTE = 60_000
TIMEOUT_S = 0.5  # of a call to Redis: more than the default, for the machine has other work
SLOWEST_S = 1.5
BACK_S = 5.0
SLACK_S = 4.0  # likewise
LEASE_S = 3.0
IN_TIME_S = SLOWEST_S + SLACK_S
FAILURES = 30  # of calls, most that a circuit lets happen before it opens and while it is probed
FUTURES_ALLOWED = 1_200  # half of 2,400 weight
TOKEN = "a-very-secret-token"
LATE = ("no answer within", "TimeoutError: ")  # how a circuit is opened by time-outs
ROUNDS, MOST_ROUNDS = 3, 20  # until each kind of key was met
EXCUSED = {"clock_suspect", "budget_short"}  # warnings of the machine's other work, and of the flood
MOST_STALLS = 3  # in a row: that was no machine with other work


@dataclass
class FaultyReplicas:
    """Three daemons on one Redis; the third by a wire that can be slow."""

    exchange: SimClient
    redis: RedisServer
    wire: SlowProxy
    daemons: list[DaemonProcess]
    questions: FreshQuestions

    def each_answers(self) -> None:
        """All do, what is cold and what is not."""
        for daemon in self.daemons:
            for query in self.questions.cold():
                assert self.questions.ask(daemon, query, IN_TIME_S)
            self.questions.ask(daemon, "symbol=ETHUSDT&interval=3d&limit=100", IN_TIME_S)

    def share_again(self) -> None:
        """What one reads, the others need not."""
        _, settled = self.questions.cold()
        symbol, interval = (part.partition("=")[2] for part in settled.split("&")[:2])
        one, *others = self.daemons
        body = self.questions.ask(one, settled, IN_TIME_S)
        eventually(lambda: self.redis.holds(symbol, interval))
        before = self.exchange.calls(KLINES)
        for other in others:
            assert self.questions.ask(other, settled, IN_TIME_S) == body
        assert self.exchange.calls(KLINES) == before


@pytest.fixture(scope="module")
def fleet() -> Iterator[FaultyReplicas]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        wire = stack.enter_context(closing(SlowProxy(redis.port)))
        exchange = stack.enter_context(closing(SimClient(stack.enter_context(sim()))))
        settings = {"admin_token": TOKEN, "replicas": "3", "redis_timeout_s": str(TIMEOUT_S)}
        urls = (redis.url, redis.url, f"redis://127.0.0.1:{wire.port}")
        daemons = [DaemonProcess(exchange.url, redis_url=url, **settings) for url in urls]
        page = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime={start}&limit=1500"
        flood = stack.enter_context(closing(ColdLoad(daemons, page, step_ms=1_500 * MINUTE, pause_s=0.6)))
        for daemon in daemons:  # they end before the flood: none of its questions is waited for
            stack.enter_context(closing(daemon)).start(wait=False)
        for daemon in daemons:
            daemon.wait_until_ready()
            eventually(daemon.redis_is_up)
            for market in ("api/v3", "fapi/v1"):  # clocks measured, symbols known
                assert daemon.get(f"/{market}/klines?symbol=ETHUSDT&interval=1d&limit=2").status_code == 200
        flood.start()
        yield FaultyReplicas(exchange, redis, wire, daemons, FreshQuestions(exchange))


def without_redis(daemon: DaemonProcess) -> bool:
    return not daemon.redis_is_up()


def went_and_came(daemon: DaemonProcess, since: int) -> bool:
    return daemon.redis_states()[since:] == ["down", "ok"]


def degraded(daemon: DaemonProcess) -> list[str]:
    """What is wrong, but for limits that are spent: the flood sees to that."""
    return [text for text in daemon.get("/readyz").json()["degraded"] if "a limit is spent" not in text]


# ---------------------------------------------------------------------------------- it can't be used


@contextmanager
def locked(redis: RedisServer) -> Iterator[None]:
    """The server needs a password that the daemons do not have, and closes its earlier connections."""
    with redis.client() as client:
        client.config_set("requirepass", "another-hidden-word")
    with redis.client("another-hidden-word") as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        client.config_set("requirepass", "")


@pytest.mark.parametrize("fault", [gone, frozen, full, read_only, locked])
def test_all_go_on_without_it(
    fleet: FaultyReplicas, fault: Callable[[RedisServer], AbstractContextManager[None]]
) -> None:
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
    moves = [len(daemon.redis_states()) for daemon in fleet.daemons]
    failures = [daemon.redis()["failures"] for daemon in fleet.daemons]
    lines_before = [len(daemon.lines()) for daemon in fleet.daemons]
    with fault(fleet.redis):
        fleet.each_answers()
        for daemon in fleet.daemons:
            eventually(partial(without_redis, daemon), IN_TIME_S)
        for daemon in fleet.daemons:
            assert daemon.budget_modes() == {"divided"}
            ready = daemon.get("/readyz")
            assert ready.status_code == 200, ready.text
            assert any(text.startswith("redis: ") for text in ready.json()["degraded"]), ready.text
            assert "hidden-word" not in ready.text
            assert daemon.metric('mdcache_tier_up{tier="redis"}') == 0
        fleet.each_answers()
    ended_s = time.monotonic()
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up, max(0.1, ended_s + BACK_S + SLACK_S - time.monotonic()))
        assert degraded(daemon) == []
        assert daemon.metric('mdcache_tier_up{tier="redis"}') == 1
    fleet.share_again()
    for daemon, moved, failed, logged in zip(fleet.daemons, moves, failures, lines_before, strict=True):
        eventually(partial(went_and_came, daemon, moved))
        lines = [line for line in daemon.lines()[logged:] if line["level"] != "info"]
        assert [line["event"] for line in lines if line["event"] not in EXCUSED] == ["store_state"]
        assert 0 < daemon.redis()["failures"] - failed < FAILURES
        assert daemon.metric('mdcache_tier_errors_total{tier="redis"}') == daemon.redis()["failures"]
        assert "hidden-word" not in str(daemon.lines())


def test_the_first_start_without_it(fleet: FaultyReplicas) -> None:
    """Not there, frozen, locked, lost before the first question: they serve by what they know of how many they are."""
    with ExitStack() as stack:
        absent = RedisServer(port=free_port())
        stack.callback(absent.close)
        cold = stack.enter_context(running_redis())
        cold.freeze()
        stack.callback(cold.resume)
        shut = stack.enter_context(running_redis("--requirepass", "right"))
        lost = stack.enter_context(running_redis())
        urls = [absent.url, cold.url, shut.url.replace("//", "//:hidden-word@"), lost.url]
        settings = {"weight_share": "0.1", "replicas": "4", "redis_timeout_s": str(TIMEOUT_S)}
        made = [
            stack.enter_context(
                closing(DaemonProcess(fleet.exchange.url, redis_url=url, egress=f"own-{n}", **settings))
            )
            for n, url in enumerate(urls)
        ]
        for daemon in made:
            daemon.start(wait=False)
        made[3].wait_until_ready()
        eventually(made[3].redis_is_up)
        eventually(lambda: all(one["part"] > 0.24 for one in made[3].redis()["families"].values()))
        lost.stop()
        for daemon in made:
            daemon.wait_until_ready()
            if daemon is made[3]:  # what it drew in this minute may be spent; its part begins with the next one
                time.sleep(62.0 - time.time() % 60)
            for query in fleet.questions.cold():
                assert fleet.questions.ask(daemon, query, IN_TIME_S)
            eventually(partial(without_redis, daemon), IN_TIME_S)
            ready = daemon.get("/readyz")
            assert ready.status_code == 200, ready.text
            (trouble,) = degraded(daemon)
            assert trouble.startswith("redis: ")
            families = daemon.redis()["families"]
            assert all(one["mode"] == "divided" and 0.24 < one["part"] <= 0.25 for one in families.values()), families
        assert "hidden-word" not in made[2].get("/v1/status").text + str(made[2].lines())
        absent.start()
        lost.start()
        cold.resume()
        with shut.client("right") as client:
            client.config_set("requirepass", "hidden-word")
        for daemon in made:
            eventually(daemon.redis_is_up, BACK_S + SLACK_S)
            eventually(partial(went_and_came, daemon, -2))
            assert len(daemon.redis_states()) == (3 if daemon is made[3] else 2)
            assert degraded(daemon) == []


# ----------------------------------------------------------------------------------- it can hardly be used


def test_one_whose_wire_is_slow_goes_on_and_the_others_do_not_mind(fleet: FaultyReplicas) -> None:
    *others, slow = fleet.daemons
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
    moves = [len(daemon.redis_states()) for daemon in fleet.daemons]
    fleet.wire.delay_s = TIMEOUT_S / 5  # late, but in time
    failures = slow.redis()["failures"]
    for query in fleet.questions.cold():
        assert fleet.questions.ask(slow, query, IN_TIME_S)
    assert slow.redis()["failures"] == failures
    fleet.wire.delay_s = 2 * TIMEOUT_S
    fleet.each_answers()
    eventually(lambda: not slow.redis_is_up(), IN_TIME_S)
    assert slow.budget_modes() == {"divided"}
    fleet.each_answers()
    fleet.wire.delay_s = 0.0
    eventually(slow.redis_is_up, BACK_S + SLACK_S)
    assert [daemon.redis_states()[moved:] for daemon, moved in zip(fleet.daemons, moves, strict=True)] == [
        *([] for _ in others),
        ["down", "ok"],
    ]


# ------------------------------------------------------------------------------------- others write in it


def copied(fleet: FaultyReplicas) -> "partial[bytes]":
    """Asks about trades of a minute long past, which is no series: the answer is shared as a copy."""
    start = int(time.time() * 1000) - random.randrange(10**10)
    query = f"symbol=BTCUSDT&startTime={start}&endTime={start + 1_000}"
    return partial(fleet.questions.ask, query=query, path=TRADES)


def believed(fleet: FaultyReplicas) -> bool:
    """Both budgets are ours again, and all three are in them."""
    with fleet.redis.client() as client, suppress(ResponseError):
        found = [client.hkeys(key) for key in fleet.redis.list_keys() if kind(key) == "budget"]
        return len(found) == 2 and all(sum(name.startswith(b"r:") for name in each) >= 3 for each in found)
    return False


@pytest.mark.parametrize("rubbish", [other_types, forged, *long(noise, numbers, torn)])
def test_others_write_under_our_keys(fleet: FaultyReplicas, rubbish: Callable[[Any, str], object]) -> None:
    """What is written in it says nothing of the server. A machine that stalls does: then it is done once more."""
    for left in reversed(range(MOST_STALLS)):
        falls = written_over(fleet, rubbish)
        assert all(fall.startswith(LATE) for fall in falls), falls
        if not falls:
            break
        assert left, falls
    fleet.share_again()


def written_over(fleet: FaultyReplicas, rubbish: Callable[[Any, str], object]) -> list[str]:
    """Ask and purge while it is; returns why any of the daemons took Redis for down."""
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
    before = [len(daemon.lines("store_state")) for daemon in fleet.daemons]
    reader, *others = fleet.daemons
    order = {"symbol": "TRXUSDT"}
    headers = {"authorization": f"Bearer {TOKEN}"}
    for path in (KLINES, TRADES):
        fleet.exchange.act("latency", before_s=0.5, path=path)  # so that leases and their waiters occur
    with closing(Corrupter(fleet.redis, rubbish)) as vandal:
        for round_ in range(1, MOST_ROUNDS + 1):
            asks = [*(partial(fleet.questions.ask, query=query) for query in fleet.questions.cold()), copied(fleet)]
            for ask in asks:
                assert ask(reader, within_s=IN_TIME_S)
                vandal.finish_round()
                with ThreadPoolExecutor() as pool:
                    list(pool.map(partial(ask, within_s=IN_TIME_S), others))
            with ThreadPoolExecutor() as pool:  # and two wait for the third
                list(pool.map(partial(copied(fleet), within_s=IN_TIME_S), fleet.daemons))
            purged = reader.post("/v1/admin/purge", order, headers)
            assert purged.status_code == 200
            if round_ >= ROUNDS and vandal.kinds_found == set(KINDS):
                break
        assert vandal.kinds_found == set(KINDS)
    for path in (KLINES, TRADES):
        fleet.exchange.act("latency", path=path)
    eventually(lambda: believed(fleet))
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
        assert degraded(daemon) == []
    return [
        line["detail"]
        for daemon, seen in zip(fleet.daemons, before, strict=True)
        for line in daemon.lines("store_state")[seen:]
        if (line["tier"], line["state"]) == ("redis", "down")
    ]


# -------------------------------------------------------------------------------------- replicas die


def test_a_replica_is_killed_and_another_stopped(fleet: FaultyReplicas) -> None:
    """What the one that comes back may ask is not looked at: Redis forgot a moment ago what each may spend."""
    one, killed, stopped = fleet.daemons
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
    settled = [fleet.questions.cold()[1] for _ in range(2)]
    for query in settled:
        fleet.questions.ask(killed, query, IN_TIME_S)
    killed.kill()
    stopped.signal(signal.SIGSTOP)
    for query in (*settled, *fleet.questions.cold()):
        fleet.questions.ask(one, query, IN_TIME_S + LEASE_S)
    killed.start(wait=False)
    stopped.signal(signal.SIGCONT)
    killed.wait_until_ready()
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
        assert degraded(daemon) == []
    for query in settled:
        fleet.questions.ask(stopped, query, IN_TIME_S)


def shares(daemon: DaemonProcess) -> bool:
    """It may spend what the others leave; else it may have no part of the budget until the next minute."""
    return bool(daemon.redis()["families"]["spot"]["mode"] == "shared")


def test_a_ban_of_one_replica_is_obeyed_by_all(fleet: FaultyReplicas) -> None:
    """Also a replica that was stopped when it was published."""
    *others, stopped = fleet.daemons
    for daemon in fleet.daemons:
        eventually(daemon.redis_is_up)
    eventually(lambda: all(shares(daemon) for daemon in fleet.daemons), 75.0)  # one is new
    stopped.signal(signal.SIGSTOP)
    fleet.exchange.act("ban", family="spot", seconds=20)
    queries = fleet.questions.cold()
    met = [others[0].get(f"{KLINES}?{queries[0]}")]
    eventually(lambda: any(text.startswith("spot: ") for text in others[1].get("/readyz").json()["degraded"]))
    stopped.signal(signal.SIGCONT)
    met += [daemon.get(f"{KLINES}?{queries[1]}") for daemon in (*others, stopped)]
    assert {reply.status_code for reply in met} == {503}
    assert all(int(reply.headers["retry-after"]) > 10 for reply in met)
    refused = [entry for entry in fleet.exchange.log() if entry["status"] == 418]
    assert len(refused) == 1, refused


# ------------------------------------------------------------------------------------------ all of it


def test_no_minute_of_it_all_was_over_the_share(fleet: FaultyReplicas) -> None:
    spent = fleet.exchange.spent("futures")
    assert max(spent.values()) <= FUTURES_ALLOWED, spent
    assert max(spent.values()) > FUTURES_ALLOWED / 4, spent  # it was fought for
    assert all(entry["status"] == 200 for entry in fleet.exchange.log() if entry["family"] == "futures")
