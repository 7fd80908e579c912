"""What the frames of 5,000 topics cost, from sockets to tails: a process sends them as fast as spot does."""

import asyncio
import multiprocessing
import sys
import time
from contextlib import suppress

import uvloop
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from bench.frames import AIM, CADENCE_MS, FRAMES_A_SECOND, T0, TOPICS, frames, held, keys
from bench.processes import free_port
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_frames import StreamFrames
from mdcache.candles.settling import SettlePolicy
from mdcache.clock import Instant, SystemClock
from mdcache.errors import TransportFailed
from mdcache.events import Events
from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.streams import topic_of
from mdcache.upstream.streams.messages import TopicFrame, read_message
from mdcache.upstream.streams.ports import StreamConnection
from mdcache.upstream.streams.websocket_client import WebSocketConnector

CONNECTIONS = 5  # 1,024 topics fit into one
ROUNDS = 8  # frames of each topic
STEPS = 100  # bursts in which the frames of one cadence are sent
KEPT_UP = 1.1  # times as long as it should take
_WAIT_S = 30.0


def share_of_a_core() -> float:
    """Return the CPU seconds that each second of frames takes."""
    port = free_port()
    sender = multiprocessing.get_context("spawn").Process(target=_serve, args=(port,), daemon=True)
    sender.start()
    try:
        return uvloop.run(_receive(port))
    finally:
        sender.terminate()
        sender.join()


def _serve(port: int) -> None:
    with serve(_send, "127.0.0.1", port, compression=None) as server:
        server.serve_forever()


def _send(connection: ServerConnection) -> None:
    """Send the frames of the topics whose number is the path's, when the other side says so."""
    request = connection.request
    mine = keys()[int(request.path[1:]) :: CONNECTIONS] if request is not None else []
    texts = [(topic_of(key), frames(key.subject)) for key in mine]
    rounds = [
        [f'{{"stream":"{topic}","data":{sent[number].decode()}}}' for topic, sent in texts] for number in range(ROUNDS)
    ]
    with suppress(ConnectionClosed):
        connection.send('{"result":null,"id":1}')
        connection.recv()
        due = time.monotonic()
        for messages in rounds:
            for step in range(STEPS):
                for message in messages[step::STEPS]:
                    connection.send(message)
                due += CADENCE_MS / 1000 / STEPS
                time.sleep(max(0.0, due - time.monotonic()))
        connection.recv()


def _sink() -> StreamFrames:
    """All series with a tail that was read, and what applies their frames."""
    now = Instant(T0 + 3_600_000, 0)
    registry = SeriesRegistry(SystemClock(), Events(), SettlePolicy(3_000, 60_000), 1 << 30)
    sink = StreamFrames(registry, SystemClock(), lambda _: now, Events())
    for key in keys():
        question = parse_klines(KLINE_ENDPOINTS["/api/v3/klines"], f"symbol={key.subject}&interval=1m", {})
        tail = held(key).tail
        assert tail is not None
        registry.get_or_create(question).replace_tail(tail)
        sink.add(key)
    return sink


async def _connections(port: int) -> list[StreamConnection]:
    """Connections to the sender, which has made all its messages and waits for a word."""
    connect = WebSocketConnector(timeout_s=_WAIT_S, trust_env=False)
    deadline = time.monotonic() + _WAIT_S
    found: list[StreamConnection] = []
    while len(found) < CONNECTIONS:
        try:
            found.append(await connect(f"ws://127.0.0.1:{port}/{len(found)}"))
        except TransportFailed:  # it is still starting
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    for connection in found:
        await connection.receive()
    return found


async def _receive(port: int) -> float:
    sink, connections = _sink(), await _connections(port)

    async def take_all(connection: StreamConnection) -> None:
        await connection.send("go")
        for _ in range(TOPICS // CONNECTIONS * ROUNDS):
            message = read_message(await connection.receive())
            if not isinstance(message, TopicFrame) or not sink.take(Market.SPOT, message.topic, message.data):
                raise AssertionError("a frame changed nothing")

    spent, began = time.process_time(), time.monotonic()
    await asyncio.gather(*(take_all(connection) for connection in connections))
    spent, took = time.process_time() - spent, time.monotonic() - began
    await asyncio.gather(*(connection.close() for connection in connections))
    if took > KEPT_UP * TOPICS * ROUNDS / FRAMES_A_SECOND:
        sys.exit(f"the frames came too slowly to say anything: {took:.1f} s")
    return spent * FRAMES_A_SECOND / (TOPICS * ROUNDS)


def report() -> None:
    """Print the share, and what a frame takes."""
    share = share_of_a_core()
    print(
        f"frames from sockets     {share / FRAMES_A_SECOND * 1e6:>6.1f} us each (aim 100); {TOPICS} topics at "
        f"{FRAMES_A_SECOND}/s: {share:.3f} of a core (aim {AIM})"
    )


if __name__ == "__main__":
    report()
