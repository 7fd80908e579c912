"""The handshakes of listeners on the daemon's own port, on real sockets, by the library that bots use."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mdcache.clock import SystemClock
from mdcache.exchange.markets import Market
from mdcache.exchange.topics import in_micros
from mdcache.serving.listeners import ListenerKind, Listeners
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.serving.streams.listener_connection import ListenerTimes
from tests.support.fake_relay import FakeRelay
from tests.support.serving_harness import BODY, ServingHarness
from tests.support.socket_client import GET, PATIENCE_S, Peer, serving
from tests.support.waiting import until

BTC = "btcusdt@kline_1m"
DATA = b'{"e":"kline","E":17}'
OFFER = (
    b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class ListeningServer:
    """A server that answers handshakes, and what opens connections to it."""

    def __init__(
        self,
        relay: FakeRelay,
        handshakes: ListenerHandshakes,
        listeners: Listeners,
        open_peer: Callable[[], Awaitable[Peer]],
    ) -> None:
        self.relay = relay
        self.handshakes = handshakes
        self.listeners = listeners
        self.peer = open_peer
        self.address = ""
        self._opened: list[ClientConnection] = []

    async def listen(self, path: str = f"/ws/{BTC}", headers: Mapping[str, str] | None = None) -> ClientConnection:
        if not self.address:
            peer = await self.peer()
            host, port = peer.writer.get_extra_info("peername")[:2]
            self.address = f"{host}:{port}"
        one = await connect(
            f"ws://{self.address}{path}", additional_headers=headers, proxy=None, compression=None, ping_interval=None
        )
        self._opened.append(one)
        return one

    async def refused(
        self, path: str = "/ws", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], int]:
        with pytest.raises(InvalidStatus) as caught:
            await self.listen(path, headers)
        response = caught.value.response
        body = json.loads(response.body or b"")
        assert body.keys() == {"code", "msg"}
        return response.status_code, response.headers, body["code"]

    async def aclose(self) -> None:
        for one in self._opened:
            await one.close()


@asynccontextmanager
async def open_house(
    *,
    listeners_max: int = 10,
    cors_origins: tuple[str, ...] = (),
    clients: tuple[str, ...] = (),
    grace_s: float = 1.0,
    times: ListenerTimes | None = None,
) -> AsyncIterator[ListeningServer]:
    relay, listeners = FakeRelay(), Listeners(listeners_max)
    times = times or ListenerTimes(close=0.05)
    known = AllowedHosts(["bots.example"])
    handshakes = ListenerHandshakes(
        relay, listeners, SystemClock(), known, cors_origins=cors_origins, times=times, clients=clients
    )
    harness = ServingHarness(handshakes=handshakes, listeners=listeners, cors_origins=cors_origins)
    async with serving(harness, grace_s=grace_s) as open_peer:
        house = ListeningServer(relay, handshakes, listeners, open_peer)
        try:
            yield house
        finally:
            await house.aclose()


async def _receive(listener: ClientConnection) -> str:
    async with asyncio.timeout(PATIENCE_S):
        text = await listener.recv()
    assert isinstance(text, str)
    return text


async def _closed(listener: ClientConnection) -> tuple[int, str]:
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionClosed):
            async for _ in listener:
                pass
    assert listener.close_code is not None
    return listener.close_code, listener.close_reason or ""


async def test_frames_and_answers_reach_a_client() -> None:
    async with open_house() as house:
        listener = await house.listen()
        assert house.listeners.counts()[Market.SPOT, ListenerKind.WEBSOCKET] == 1
        house.relay.publish(BTC, DATA)
        assert await _receive(listener) == DATA.decode()
        await listener.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert await _receive(listener) == f'{{"result":["{BTC}"],"id":1}}'
        await (await listener.ping())
        await listener.close()
        await until(lambda: not house.relay.listeners and not len(house.listeners))


async def test_handshake_and_messages_in_any_chunks_after_requests() -> None:
    head = b"GET /ws/0 HTTP/1.1\r\n" + OFFER + b"\r\n"
    message = b'\x81\xa6\0\0\0\0{"method":"LIST_SUBSCRIPTIONS","id":1}'
    for size in (1, 7, 1_000):
        async with open_house() as house:
            peer = await house.peer()
            for _ in range(3):  # the last by the fast lane
                assert (await peer.get())[2] == BODY
            sent = head + message
            for at in range(0, len(sent), size):
                await peer.send(sent[at : at + size])
                await asyncio.sleep(0)
            status, headers, _ = await peer.reply(bodiless=True)
            assert status == 101
            assert headers["server"] == "mdcache"
            assert "sec-websocket-extensions" not in headers
            async with asyncio.timeout(PATIENCE_S):
                assert await peer.reader.readexactly(22) == b'\x81\x14{"result":[],"id":1}'


async def test_hits_are_served_beside_listeners() -> None:
    async with open_house() as house:
        await house.listen()
        peer = await house.peer()
        for _ in range(4):
            assert (await peer.get())[2] == BODY


async def test_no_more_listeners_than_allowed() -> None:
    async with open_house(listeners_max=2) as house:
        first = await house.listen()
        await house.listen("/coinm/ws")
        status, headers, code = await house.refused()
        assert (status, code) == (503, -1008)
        assert headers["retry-after"] == "5"
        assert house.listeners.ends(Market.SPOT)["no_room"] == 1
        await first.close()
        await until(lambda: len(house.listeners) == 1)
        await house.listen()


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, None, True),
        (None, "any.example", True),  # a client that is no browser
        ("http://evil.example", None, False),
        ("null", None, False),
        ("http://evil.example", "evil.example", False),  # a name that was rebound to this address
        ("http://bots.example:8700", "bots.example:8700", True),
        ("http://bots.example", "bots.example:8700", False),  # another server's page
        ("https://bots.example:8443", "bots.example", True),  # a proxy's `Host` without the port
        ("http://[", None, False),
        ("", None, False),
        ("null", "", False),
        ("http://localhost:8700", "localhost:8700", True),
        ("https://app.example", None, True),
        ("https://app.example", "evil.example", True),
        ("https://app.example.evil.example", None, False),
    ],
)
async def test_pages_of_other_sites_may_not_listen(origin: str | None, host: str | None, allowed: bool) -> None:
    fields = {"Origin": origin, "Host": host}
    head = b"".join(
        b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in fields.items() if value is not None
    )
    offer = OFFER if host is None else OFFER.removeprefix(b"Host: x\r\n")
    async with open_house(cors_origins=("https://app.example",)) as house:
        peer = await house.peer()
        await peer.send(b"GET /ws HTTP/1.1\r\n" + offer + head + b"\r\n")
        status, _, _ = await peer.reply(bodiless=allowed)
        assert status == (101 if allowed else 403)
        assert house.listeners.ends(Market.SPOT)["origin"] == (0 if allowed else 1)


KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/ws/{KEY}", 403, -2015),
        (f"/usdm/private/stream?listenKey={KEY}", 403, -2015),
        ("/ws/" + "x" * 129 + "@trade", 400, -1100),
        ("/ws/a%20b", 400, -1100),
        ("/wss", 404, -5000),
        ("/", 404, -5000),
    ],
)
async def test_addresses_that_are_refused(path: str, status: int, code: int) -> None:
    async with open_house() as house:
        if path == "/":
            peer = await house.peer()
            await peer.send(b"GET / HTTP/1.1\r\n" + OFFER.replace(b"Host: x", b"Host: localhost") + b"\r\n")
            assert (await peer.reply())[0] == 200  # the offer is ignored
            return
        assert (await house.refused(path))[::2] == (status, code)
        assert house.relay.changes == []


@pytest.mark.parametrize(("name", "client"), [("alpha", "alpha"), ("nobody", "127.0.0.1"), (None, "127.0.0.1")])
async def test_clients_are_told_apart_by_a_known_name_or_their_address(name: str | None, client: str) -> None:
    async with open_house(clients=("alpha",)) as house:
        await house.listen(headers={"X-MDCache-Client": name} if name else None)
        (listener,) = house.relay.listeners
        assert listener.client == client


@pytest.mark.parametrize(
    ("path", "micros"),
    [
        ("/stream?streams=btcusdt@kline_1m&timeUnit=MICROSECOND", True),
        (f"/ws/{BTC}?timeUnit=microsecond", True),
        (f"/ws/{BTC}?timeUnit=MILLISECOND", False),
        (f"/usdm/ws/{BTC}?timeUnit=MICROSECOND", False),  # only spot has it
    ],
)
async def test_the_unit_of_time_is_that_of_the_address(path: str, micros: bool) -> None:
    async with open_house() as house:
        one = await house.listen(path)
        ((_, market, topics),) = house.relay.changes
        assert topics == (in_micros(BTC) if micros else BTC,)
        house.relay.publish(topics[0], DATA, market)
        assert json.loads(await one.recv()).get("stream", BTC) == BTC
        await one.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert json.loads(await one.recv())["result"] == [BTC]
        await one.send(json.dumps({"method": "UNSUBSCRIBE", "params": [BTC], "id": 2}))
        await one.recv()
        assert house.relay.changes[-1] == ("unsubscribe", market, topics)


@pytest.mark.parametrize(
    ("line", "offer", "status"),
    [
        (b"POST /ws HTTP/1.1", OFFER, 405),
        (b"GET /ws HTTP/1.0", OFFER, 505),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"Version: 13", b"Version: 8"), 400),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"AAAA==", b""), 400),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"Key: ", b"Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: "), 400),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"Connection: Upgrade\r\n", b""), 426),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
        (b"GET /ws HTTP/1.1", b"Host: x\r\n", 426),
        (b"GET /ws HTTP/1.1", OFFER + b"X-Big: " + b"y" * 66_000 + b"\r\n", 431),
        (b"GET /ws HTTP/1.1", OFFER.replace(b"Host: x", b"Host: x\r\nHost: y"), 400),
        (b"GET /ws HTTP/1.1", OFFER + b"X-Long: " + b"y" * 60_000 + b"\r\n", 101),
        (b"GET /ws/%b HTTP/1.1" % b"/".join(b"symbol%d@trade" % n for n in range(900)), OFFER, 101),
    ],
)
async def test_handshakes(line: bytes, offer: bytes, status: int) -> None:
    async with open_house() as house:
        peer = await house.peer()
        await peer.send(line + b"\r\n" + offer + b"\r\n")
        found, headers, body = await peer.reply(bodiless=status == 101)
        assert found == status
        if status != 101:
            assert json.loads(body).keys() == {"code", "msg"}
            assert house.relay.listeners == {}
            if status == 426:
                assert headers["upgrade"] == "websocket"
            else:
                assert await peer.ended() == b""


async def test_an_offer_on_other_paths_is_ignored() -> None:
    async with open_house() as house:
        peer = await house.peer()
        for _ in range(3):
            status, _, body = await peer.get(GET[:-2] + OFFER.removeprefix(b"Host: x\r\n") + b"\r\n")
            assert (status, body) == (200, BODY)
        assert (await peer.get(GET))[2] == BODY


async def test_streams_that_are_off() -> None:
    handshakes = ListenerHandshakes(None, Listeners(1), SystemClock(), AllowedHosts())
    async with serving(ServingHarness(handshakes=handshakes)) as connect_peer:
        peer = await connect_peer()
        await peer.send(b"GET /ws HTTP/1.1\r\n" + OFFER + b"\r\n")
        status, _, body = await peer.reply()
        assert status == 404
        assert "MDCACHE_STREAMS" in json.loads(body)["msg"]


async def test_a_relay_that_has_nothing_to_send() -> None:
    async with open_house() as house:
        house.relay.trouble = "the gate of spot is closed"
        assert await _closed(await house.listen()) == (1013, "the gate of spot is closed")


async def test_the_end_of_the_daemon_is_spread_over_the_grace() -> None:
    async with open_house(grace_s=2.0) as house:
        listeners = [await house.listen() for _ in range(8)]
        loop = asyncio.get_running_loop()
        ends: list[float] = []

        async def end(listener: ClientConnection) -> None:
            assert await _closed(listener) == (1001, "mdcache is shutting down")
            ends.append(loop.time())

        ending = asyncio.gather(*map(end, listeners))
        await asyncio.sleep(0)
        house.listeners.drain(2.0)
        await asyncio.sleep(0.05)
        house.relay.publish(BTC, DATA)
        assert (await house.refused())[0] == 503  # but who comes now goes elsewhere
        await ending
        assert 1.0 < max(ends) - min(ends) < 2.0


async def test_clients_that_vanish_leave_nothing() -> None:
    async with open_house(listeners_max=100) as house:
        for _ in range(50):
            listener = await house.listen()
            listener.transport.abort()
        await until(lambda: not house.relay.listeners and not len(house.listeners))
        assert len(house.relay.left) == 50


async def test_a_client_that_never_reads_is_cut_off_and_others_get_all() -> None:
    async with open_house(times=ListenerTimes(ping_every=0.1, pong=60.0, read=0.5, close=0.5)) as house:
        reader = await house.listen()
        peer = await house.peer()
        await peer.send(b"GET /ws/%b HTTP/1.1\r\n" % BTC.encode() + OFFER + b"\r\n")
        await until(lambda: len(house.relay.listeners) == 2)
        frame = b'{"data":"%b"}' % (b"x" * 60_000)
        sent = 0
        async with asyncio.timeout(PATIENCE_S):
            while len(house.relay.listeners) == 2:
                house.relay.publish(BTC, frame)
                sent += 1
                assert await _receive(reader) == frame.decode()
        assert sent > 1
        house.relay.publish(BTC, DATA)
        assert await _receive(reader) == DATA.decode()
