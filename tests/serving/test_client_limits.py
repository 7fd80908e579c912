"""CLIENT_REQUESTS_PER_S: who asks too often is refused, nobody else is, and honest bursts are not."""

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.daemon_events import ClientRefused
from mdcache.errors import ClientLimited
from mdcache.events import Events
from mdcache.serving.client_limits import BURST, MAX_CLIENTS, ClientLimits
from mdcache.serving.listeners import Listeners
from mdcache.upstream.governor import GovernorSettings
from tests.support.asgi_client import Response, ask
from tests.support.listener_client import ListenerClient
from tests.support.served_daemon import ServedDaemon
from tests.support.serving_fakes import ManualClock
from tests.support.serving_harness import BODY, ServingHarness
from tests.support.socket_client import serving
from tests.support.virtual_daemon import DaemonOptions, few_symbols
from tests.support.virtual_time import VirtualClock

SMALL_BURST = 30  # of the tests with floods, whose minutes are small, too
FLOOD, HONEST = ("10.0.0.66", 40_000), ("10.0.0.1", 40_000)
KLINES = "/api/v3/klines"


def bucket(per_s: float, clock: ManualClock | None = None) -> ClientLimits:
    return ClientLimits(per_s, clock or ManualClock(), Events())


def taken(limits: ClientLimits, address: str = "10.0.0.1", client: str = "", most: int = 10_000) -> int:
    return next((n for n in range(most) if limits.wait_s(address, client)), most)


def test_a_burst_then_the_rate() -> None:
    clock = ManualClock()
    limits = bucket(5.0, clock)
    assert taken(limits) == BURST
    assert limits.wait_s("10.0.0.1", "") == pytest.approx(0.2)
    clock.seconds += 1.0
    assert taken(limits) == 5
    clock.seconds += 3_600.0
    assert taken(limits) == BURST
    assert taken(bucket(100.0)) == 1_000  # ten seconds' worth


def test_many_at_once_count_as_many_and_at_most_as_all() -> None:
    limits = bucket(5.0)
    assert limits.wait_s("a", "", 200) == 0.0
    assert limits.wait_s("a", "", 200) == pytest.approx(20.0)
    assert limits.wait_s("a", "", 100) == 0.0
    assert limits.wait_s("b", "", 5_000) == 0.0
    assert limits.wait_s("b", "") == pytest.approx(0.2)


def test_who_is_one_client() -> None:
    limits = bucket(1.0)
    assert taken(limits, "2001:db8:1:2::1") == BURST
    assert taken(limits, "2001:db8:1:2:ffff::9") == 0  # it chooses freely within its network
    assert taken(limits, "2001:db8:1:3::1") == BURST
    assert taken(limits, "::ffff:10.0.0.1") == BURST
    assert taken(limits, "10.0.0.1") == 0
    assert taken(limits, "10.0.0.1", "engine") == BURST
    assert taken(limits, "10.0.0.2", "engine") == BURST  # nobody empties another address's bucket by its name


def test_memory_is_bounded() -> None:
    limits = bucket(1.0)
    for number in range(MAX_CLIENTS + 500):
        for _ in range(2):
            limits.wait_s(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "")
    assert len(limits._due_s) == MAX_CLIENTS
    empty = bucket(1e-9)
    taken(empty)
    for number in range(500):
        taken(empty, str(number))
        with pytest.raises(ClientLimited):
            empty.charge(str(number), "")
    assert len(empty._refused) == 100


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 400)), max_size=60), st.floats(0.5, 60.0))
def test_no_client_ever_gets_more_than_the_bound(steps: list[tuple[float, int]], per_s: float) -> None:
    clock = ManualClock()
    limits = bucket(per_s, clock)
    passed = 0
    began_s = clock.now()
    for pause_s, requests in steps:
        clock.seconds += pause_s
        passed += sum(not limits.wait_s("x", "") for _ in range(requests))
        assert passed <= limits.burst + per_s * (clock.now() - began_s) + 1e-6


def test_off_is_no_limit_and_remembers_nobody() -> None:
    limits = bucket(0.0)
    assert taken(limits, most=2_000) == 2_000
    assert not limits._due_s


# ------------------------------------------------------------------------------- over HTTP


async def _ask(
    w: ServedDaemon, peer: tuple[str, int], path: str = KLINES, query: bytes = b"", **headers: str
) -> Response:
    return await ask(w.app, path, query, peer=peer, headers={n.replace("_", "-"): v for n, v in headers.items()})


@pytest.mark.virtual
async def test_a_fresh_bot_is_not_refused_and_a_flood_is_as_mdcaches_own() -> None:
    w = ServedDaemon()
    w.serve(client_requests_per_s=0.5, clients={"engine": "high"})
    for number in range(120):
        assert (await _ask(w, HONEST, query=b"symbol=ETHUSDT&interval=1d&limit=%d" % (number + 1))).status == 200
    for _ in range(BURST - 120):
        assert (await _ask(w, HONEST, "/api/v3/ping")).status == 200
    began_s = w.clock.now()
    reply = await _ask(w, HONEST, "/api/v3/ping")
    assert w.clock.now() - began_s == pytest.approx(0.1)  # it is slowed down
    assert reply.status == 429
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["proxy-status"] == "mdcache; error=http_request_denied"
    body = json.loads(reply.body)
    assert body["code"] == -1003
    assert "mdcache's own limit" in body["msg"]
    for path in ("/healthz", "/readyz", "/metrics", "/v1/admin/warm"):
        assert (await _ask(w, HONEST, path)).status != 429
    for path in ("/v1/status", "/v1/candles", "/udf/config", "/nowhere"):
        assert (await _ask(w, HONEST, path)).status == 429
    assert (await _ask(w, HONEST, "/api/v3/ping", x_mdcache_client="engine")).status == 200
    assert (await _ask(w, FLOOD, "/api/v3/ping")).status == 200
    await asyncio.sleep(2.0)
    assert (await _ask(w, HONEST, "/api/v3/ping")).status == 200
    found = json.loads((await _ask(w, FLOOD, "/v1/status")).body)["clients_refused"]
    assert [(each["client"], each["address"], each["requests"]) for each in found] == [("", "10.0.0.1", 5)]
    metrics = (await _ask(w, FLOOD, "/metrics")).body.decode()
    assert 'mdcache_clients_refused_total{client="other"} 5.0' in metrics
    assert 'mdcache_clients_refused_total{client="engine"} 0.0' in metrics
    assert ClientRefused("", "10.0.0.1") in w.events


@pytest.mark.virtual
async def test_each_series_of_a_question_for_many_counts() -> None:
    w = ServedDaemon()
    w.serve(client_requests_per_s=1.0)
    query = b"market=spot&symbols=ETHUSDT,BNBUSDT&intervals=1m,1h&limit=2"
    statuses = Counter([(await _ask(w, HONEST, "/v1/candles", query)).status for _ in range(BURST // 4 + 5)])
    assert statuses[200] == BURST // 4
    assert statuses[429] == 5


async def test_the_fast_lane_keeps_to_the_limit() -> None:
    clock = ManualClock()
    house = ServingHarness(listeners=Listeners(9, bucket(1.0, clock)))
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(BURST):
            assert (await peer.get())[::2] == (200, BODY)
        assert house.recorder.records[-1].result == "hit"
        status, headers, _ = await peer.get()
        assert (status, headers["retry-after"]) == (429, "1")
        clock.seconds += 2.0
        house.clock.seconds += 20.0  # what was ready is no longer: the request that is made anew counts once
        assert [(await peer.get())[0] for _ in range(3)] == [200, 200, 429]


# ------------------------------------------------------------------------------- over WebSockets


@pytest.mark.virtual
async def test_messages_count_and_pongs_do_not() -> None:
    client = ListenerClient(VirtualClock(), "/ws")
    client.listeners.limits.set(0.01)
    client.listeners.limits.wait_s("", "", BURST - 3)
    for n in range(3):
        client.say(method="LIST_SUBSCRIPTIONS", id=n)
    client.pong(b"")
    assert client.closed() is None
    client.say(method="LIST_SUBSCRIPTIONS", id=9)
    assert client.closed() == (1008, "Too many requests")
    assert client.counted() == {"limited": 1}
    assert len(client.texts) == 3


# ------------------------------------------------------------------------------- nobody starves


class Crowd:
    """One program that floods with questions that must be read, and one that polls a few series every five seconds."""

    def __init__(self, w: ServedDaemon, flooding: int, client: str = "") -> None:
        self.w = w
        self.client = client
        self.answers: list[tuple[Response, float]] = []
        self.flood: Counter[int] = Counter()
        self._next = 0
        self._ended = False
        self._tasks = [asyncio.create_task(self._flood()) for _ in range(flooding)]

    async def _flood(self) -> None:
        while not self._ended:
            self._next += 1
            query = b"symbol=BTCUSDT&interval=1m&limit=1&startTime=%d" % (1_700_000_000_000 + self._next * 10**8)
            self.flood[(await _ask(self.w, FLOOD, query=query)).status] += 1
            await asyncio.sleep(0.1)

    async def poll(self, seconds: float, *symbols: bytes) -> None:
        headers = {"x_mdcache_client": self.client} if self.client else {}
        end_s = self.w.clock.now() + seconds
        while self.w.clock.now() < end_s:
            for symbol in symbols:
                began_s = self.w.clock.now()
                reply = await _ask(self.w, HONEST, query=b"symbol=%s&interval=1m&limit=2" % symbol, **headers)
                self.answers.append((reply, self.w.clock.now() - began_s))
            await asyncio.sleep(5.0)
        self._ended = True
        await asyncio.gather(*self._tasks)

    def fresh(self) -> bool:
        """Whether each answer of the honest one was fresh, and came within 1.5 seconds."""
        return all(
            reply.status == 200 and "detail=stale" not in reply.headers["cache-status"] and took_s < 1.5
            for reply, took_s in self.answers
        )


def crowded(**settings: object) -> ServedDaemon:
    options = DaemonOptions(derive=False, limits=GovernorSettings(weight_share=0.05))  # 150 reads
    w = ServedDaemon(few_symbols("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", limit=6_000), options)
    w.serve(clients={"engine": "high"}, **settings)
    w.targets.limits.burst = SMALL_BURST
    return w


@pytest.mark.exhaustive
@pytest.mark.virtual
async def test_without_a_limit_a_flood_spends_the_minute_but_not_the_tenth_of_another_lane() -> None:
    w = crowded()
    crowd = Crowd(w, 4, client="engine")
    await crowd.poll(20.0, b"ETHUSDT")
    assert crowd.flood[200] > 60
    assert crowd.flood[503] > 0  # the minute is spent
    assert crowd.fresh()


@pytest.mark.exhaustive
@pytest.mark.virtual
async def test_with_a_limit_a_flood_leaves_the_rest_of_the_minute_to_others() -> None:
    w = crowded(client_requests_per_s=1.0)
    crowd = Crowd(w, 5)
    await crowd.poll(40.0, b"ETHUSDT", b"BNBUSDT", b"SOLUSDT")
    assert crowd.fresh()
    assert SMALL_BURST <= crowd.flood[200] <= SMALL_BURST + 45
    assert 100 < crowd.flood[429] <= 45 * 5 / 0.2


@pytest.mark.exhaustive
@pytest.mark.virtual
async def test_clients_take_turns_by_their_addresses_where_reads_are_slow() -> None:
    w = crowded()
    await _ask(w, HONEST, query=b"symbol=ETHUSDT&interval=1m&limit=2")
    w.exchange.control.latency(before_s=0.4)
    crowd = Crowd(w, 48)  # six rounds of the eight reads at once
    await asyncio.sleep(2.5)
    await crowd.poll(1.0, b"ETHUSDT", b"BNBUSDT")
    assert crowd.fresh()
