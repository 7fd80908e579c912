"""Clients that ask for long answers and read none: what waits for them together has a bound, and others get theirs."""

import asyncio

import pytest

from mdcache.serving.http import server
from mdcache.serving.http.unread_answers import AnswerReader, UnreadAnswers
from tests.support.serving_harness import ServingHarness
from tests.support.socket_client import Peer, serving
from tests.support.waiting import until

LONG = 8 << 20
ASKED = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Held(bytes):
    """Bytes of which it is known how many are still there."""

    alive = 0

    def __init__(self, _: bytes) -> None:
        super().__init__()
        Held.alive += 1

    def __del__(self) -> None:
        Held.alive -= 1


class Leftover(asyncio.Transport):
    """A transport in which a little waits."""

    left, aborted = 10, False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> UnreadAnswers:
    found = UnreadAnswers(3 * LONG)
    monkeypatch.setattr(server, "UnreadAnswers", lambda: found)
    return found


def deaf(peer: Peer) -> None:
    transport = peer.writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()


async def test_those_that_wait_longest_are_cut_off_and_one_that_reads_gets_all_of_it(unread: UnreadAnswers) -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(body=b"[" + b" " * LONG + b"]")
    async with serving(house) as connect:
        hostile: list[Peer] = []
        for n in range(10):
            hostile.append(await connect())
            deaf(hostile[-1])
            await hostile[-1].send(ASKED % (b"&" * n))
            await until(lambda: unread.nbytes > 0)
            assert unread.nbytes <= 3 * LONG
        honest = await connect()
        status, _, body = await honest.get(ASKED % b"limit=7")
        assert (status, len(body)) == (200, LONG + 2)
        assert unread.nbytes <= 3 * LONG
        for peer in hostile:
            peer.writer.transport.abort()
        await until(lambda: unread.nbytes == 0)


async def test_an_idle_connection_keeps_no_body() -> None:
    """Whoever has read its answer, and asks no more for a while."""
    house = ServingHarness()
    house.candles.make = lambda: house.answer(body=Held(b"[" + b" " * LONG + b"]"))
    async with serving(house) as connect:
        peer = await connect()
        assert (await peer.get(ASKED % b""))[0] == 200
        await until(lambda: Held.alive == 0)
        assert (await peer.get(ASKED % b"&"))[0] == 200


async def test_what_is_read_without_a_word_of_the_transport_counts_no_longer(unread: UnreadAnswers) -> None:
    """It tells that it has room again only if more than 64 KB waited."""
    transport = Leftover()
    reader = AnswerReader(transport, unread, 0.01)
    reader.watch()
    reader.sent(b" " * LONG)
    assert unread.nbytes == LONG
    transport.left = 0
    await until(lambda: unread.nbytes == 0)
    assert not transport.aborted


@pytest.mark.parametrize("times", [1, 5])  # the last by the fast lane
async def test_one_body_counts_once_however_many_wait_for_it(unread: UnreadAnswers, times: int) -> None:
    house = ServingHarness()
    whole = b"[" + b" " * LONG + b"]"
    house.candles.make = lambda: house.answer(body=whole)
    async with serving(house) as connect:
        first = await connect()
        for _ in range(times - 1):
            assert (await first.get(ASKED % b""))[2] == whole
        waiting = [await connect() for _ in range(8)]
        for peer in waiting:
            deaf(peer)
            await peer.send(ASKED % b"")
        await until(lambda: len(unread._bodies) == 8)
        assert unread.nbytes == len(whole)
        for peer in waiting:
            transport = peer.writer.transport
            assert isinstance(transport, asyncio.ReadTransport)
            transport.resume_reading()
            assert (await peer.reply())[2] == whole
        await until(lambda: unread.nbytes == 0)
