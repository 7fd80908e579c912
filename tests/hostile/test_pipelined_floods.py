"""A client that pipelines without end holds up nobody and fills no memory; one that pipelines as is usual is served."""

import asyncio

import pytest

from mdcache.serving.http.connection import ClientConnection
from mdcache.serving.responses import Receive, Scope, Send, wait_until_gone
from tests.support.serving_harness import BODY, ServingHarness
from tests.support.socket_client import GET, PATIENCE_S, Peer, serving

SHORT = b"GET /api/v3/ping HTTP/1.1\r\nHost:\r\n\r\n"
MOST_WAITING = 100  # parsed requests of one connection


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[ClientConnection]:
    """Return those that are made on the server's side."""
    made: list[ClientConnection] = []
    begin = ClientConnection.connection_made

    def connection_made(connection: ClientConnection, transport: asyncio.Transport) -> None:
        made.append(connection)
        begin(connection, transport)

    monkeypatch.setattr(ClientConnection, "connection_made", connection_made)
    return made


async def answers(peer: Peer, count: int) -> None:
    for _ in range(count):
        assert (await peer.reply())[0] == 200


async def test_few_of_a_flood_are_held_and_an_honest_client_is_answered_between_them(
    connections: list[ClientConnection],
) -> None:
    async with serving(ServingHarness()) as connect:
        flooding, honest = await connect(), await connect()
        await answers_of_known(honest)
        sending = asyncio.create_task(flooding.send(SHORT * 40_000))
        await answers(flooding, 500)
        (flooded,) = [each for each in connections if each.pipeline]
        for _ in range(20):
            before = flooded.server_state.total_requests
            assert (await honest.get())[2] == BODY
            assert flooded.server_state.total_requests - before < 200  # 3,000 before they were parsed in slices
            assert len(flooded.pipeline) <= MOST_WAITING
        await answers(flooding, 1_000)
        assert len(flooded.pipeline) <= MOST_WAITING  # each answer let in 256 KB of them
        assert len(flooded._unparsed) <= 2 * 256 * 1024
        sending.cancel()


async def answers_of_known(peer: Peer) -> None:
    for _ in range(3):
        assert (await peer.get())[2] == BODY


async def test_a_flood_behind_an_answer_that_is_being_made_waits_in_the_socket(
    connections: list[ClientConnection],
) -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    async with serving(house, whole_within_s=0.4) as connect:
        flooding = await connect()
        sending = asyncio.create_task(flooding.send(GET + SHORT * 40_000))
        async with asyncio.timeout(PATIENCE_S):
            await house.candles.called.wait()
        await asyncio.sleep(0.5)  # the bound of a message does not pass while its parsing waits for us
        assert len(connections[0].pipeline) <= MOST_WAITING
        assert len(connections[0]._unparsed) <= 2 * 256 * 1024
        house.candles.hold.set()
        await answers(flooding, 1_000)
        sending.cancel()


@pytest.mark.parametrize("pieces", [1, 7, 50])
async def test_ten_pipelined_requests_are_answered_in_order(pieces: int) -> None:
    async with serving(ServingHarness()) as connect:
        peer = await connect()
        await answers_of_known(peer)
        for _ in range(5):
            data = (GET + SHORT) * 5
            size = -(-len(data) // pieces)
            for at in range(0, len(data), size):
                await peer.send(data[at : at + size])
                await asyncio.sleep(0)
            assert [(await peer.reply())[2] for _ in range(10)] == [BODY, b"{}"] * 5


async def test_a_client_that_always_has_a_request_under_way_is_served_as_long_as_each_arrives_in_time() -> None:
    async with serving(ServingHarness(), whole_within_s=0.5) as connect:
        peer = await connect()
        await peer.send(GET[:20])
        for _ in range(30):
            await peer.send(GET[20:] + GET[:20])
            assert (await peer.reply())[0] == 200
            await asyncio.sleep(0.02)
        assert (await peer.reply())[0] == 408  # the last one never comes


async def test_a_listener_that_left_is_known_to_have_left_with_a_request_behind_its_own() -> None:
    """Or its place among `LISTENERS_MAX` would be lost. Nothing is read meanwhile: its heartbeats find it gone."""
    house, began, gone = ServingHarness(), asyncio.Event(), asyncio.Event()

    async def beat(send: Send) -> None:
        while True:
            await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
            await asyncio.sleep(0.01)

    async def listen(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        began.set()
        beating = asyncio.create_task(beat(send))
        await wait_until_gone(receive)
        beating.cancel()
        gone.set()

    house.app._app = listen
    async with serving(house, grace_s=0.1) as connect:
        peer = await connect()
        await peer.send(SHORT)
        async with asyncio.timeout(PATIENCE_S):
            await began.wait()
        await peer.send(SHORT)
        await asyncio.sleep(0.05)  # until it was read
        peer.writer.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            await gone.wait()
