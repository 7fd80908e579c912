"""One listener's connection: its frames, pings, limits and ends, in virtual time."""

import asyncio
import json
import struct
from collections.abc import Iterable

import pytest

from mdcache.exchange.markets import Market
from mdcache.relay.ports import Listener
from mdcache.serving.streams.listener_connection import MOST_WAITING_BYTES
from tests.support.fake_relay import FakeRelay
from tests.support.listener_client import ListenerClient
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual

BTC, ETH = "btcusdt@kline_1m", "ethusdt@trade"
DATA = b'{"e":"kline","E":17}'


async def test_frames_of_the_address_raw_and_combined() -> None:
    relay = FakeRelay()
    raw = ListenerClient(VirtualClock(), f"/ws/{BTC}", relay=relay)
    combined = ListenerClient(VirtualClock(), f"/stream?streams={BTC}/{ETH}", relay=relay)
    for topic in (BTC, ETH, "other@trade"):
        relay.publish(topic, DATA)
        await asyncio.sleep(0)
    assert raw.texts == [DATA.decode()]
    assert combined.texts == [f'{{"stream":"{topic}","data":{DATA.decode()}}}' for topic in (BTC, ETH)]
    raw.say(method="SET_PROPERTY", params=["combined", True], id=1)
    relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    assert raw.texts[1:] == ['{"result":null,"id":1}', combined.texts[0]]


async def test_an_answer_comes_before_the_frames_it_answers_for() -> None:
    class Eager(FakeRelay):
        def subscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
            super().subscribe(listener, market, topics)
            self.publish(BTC, DATA)

    client = ListenerClient(VirtualClock(), relay=Eager())
    client.say(method="SUBSCRIBE", params=[BTC], id=1)
    assert client.texts == ['{"result":null,"id":1}', DATA.decode()]
    client.say(method="UNSUBSCRIBE", params=[BTC], id=2)
    client.relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    assert client.texts[2:] == ['{"result":null,"id":2}']
    assert client.relay.changes[-1] == ("unsubscribe", Market.SPOT, (BTC,))


async def test_the_exchange_s_errors_are_sent_between_frames() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.relay.publish(BTC, DATA)
    client.connection.tell(2, f"{BTC}: Invalid request: x")
    assert client.texts == [DATA.decode(), f'{{"code":2,"msg":"{BTC}: Invalid request: x"}}']
    client.connection.close(1012, "lost")
    client.connection.tell(2, "later")
    assert len(client.texts) == 2


async def test_frames_of_one_step_are_written_at_once_and_before_what_is_said_later() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    frames = [b'{"n":%d}' % number for number in range(20)]
    for frame in frames:
        client.relay.publish(BTC, frame)
    assert client.connection.waiting_bytes() > sum(map(len, frames))
    await asyncio.sleep(0)
    assert client.transport.writes == 1
    assert client.connection.waiting_bytes() == 0
    client.relay.publish(BTC, DATA)
    client.say(method="GET_PROPERTY", params=["combined"], id=1)
    client.relay.publish(BTC, DATA)
    client.connection.close(1012, "lost")
    assert client.texts == [*(one.decode() for one in frames), DATA.decode(), '{"result":false,"id":1}', DATA.decode()]


async def test_listeners_share_the_bytes_of_a_frame_however_long_they_wait() -> None:
    relay = FakeRelay()
    first, second = (ListenerClient(VirtualClock(), f"/ws/{BTC}", relay=relay) for _ in range(2))
    relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    assert first.transport.lines[0] is second.transport.lines[0]


async def test_the_private_route_is_silent() -> None:
    client = ListenerClient(VirtualClock(), "/usdm/private/stream")
    client.say(method="SUBSCRIBE", params=[BTC], id=7)
    assert client.texts == ['{"result":null,"id":7}']
    assert client.relay.changes == []


async def test_pings_every_20_s_for_as_long_as_they_are_answered() -> None:
    client = ListenerClient(VirtualClock())
    await asyncio.sleep(3_601)
    assert len(client.pings) == 180
    assert len(set(client.pings)) == 180
    assert client.closed() is None


@pytest.mark.parametrize(("target", "after_s"), [("/ws", 60), ("/usdm/ws", 600), ("/coinm/stream", 600)])
async def test_who_answers_no_ping_is_closed(target: str, after_s: int) -> None:
    client = ListenerClient(VirtualClock(), target)
    client.pongs = False
    await asyncio.sleep(20 + after_s - 1)
    assert client.closed() is None
    client.pong(b"")  # unsolicited: keeps nothing open
    await asyncio.sleep(2)
    assert client.closed() == (1008, "Pong timeout")
    assert client.counted() == {"no_pong": 1}
    await asyncio.sleep(3)
    assert client.gone


async def test_a_pong_answers_for_earlier_pings_and_only_with_their_payload() -> None:
    client = ListenerClient(VirtualClock())
    client.pongs = False
    for n in range(1, 20):
        await asyncio.sleep(20)
        if n % 3 == 0:
            client.pong(client.pings[-1])
    await asyncio.sleep(1)
    assert client.closed() is None
    client.pong(b"1")
    await asyncio.sleep(60)
    assert client.closed() == (1008, "Pong timeout")
    assert client.counted() == {"no_pong": 1}


@pytest.mark.parametrize(("target", "most"), [("/ws", 10), ("/usdm/market/ws", 15)])
async def test_too_many_messages(target: str, most: int) -> None:
    client = ListenerClient(VirtualClock(), target)
    for n in range(most):
        client.say(method="LIST_SUBSCRIPTIONS", id=n)
    assert len(client.texts) == most
    client.say(method="LIST_SUBSCRIPTIONS", id=most)
    assert len(client.texts) == most
    assert client.closed() == (1008, "Too many requests")
    assert client.counted() == {"messages": 1}
    await asyncio.sleep(0)
    assert client.gone


async def test_a_flood_of_pings_in_one_chunk() -> None:
    client = ListenerClient(VirtualClock())
    client.ping(times=20_000)
    assert client.closed() == (1008, "Too many requests")
    assert client.counted() == {"messages": 1}
    await asyncio.sleep(0)
    assert client.gone


async def test_five_messages_a_second_for_a_minute() -> None:
    client = ListenerClient(VirtualClock())
    for n in range(300):
        client.say(method="LIST_SUBSCRIPTIONS", id=n)
        await asyncio.sleep(0.2)
    assert client.closed() is None
    assert len(client.texts) == 300


async def test_too_many_topics_in_messages_and_in_the_address() -> None:
    first = ListenerClient(VirtualClock())
    first.say(method="SUBSCRIBE", params=[f"a{n}@trade" for n in range(1_024)], id=1)
    first.say(method="SUBSCRIBE", params=["b@trade"], id=2)
    assert first.texts == ['{"result":null,"id":1}', '{"error":{"code":4,"msg":"Too many subscriptions"}}']
    assert first.closed() == (1008, "Too many subscriptions")
    assert first.counted() == {"topics": 1}
    second = ListenerClient(VirtualClock(), "/stream?streams=" + "/".join(f"a{n}@trade" for n in range(1_025)))
    assert second.texts == first.texts[1:]
    assert second.closed() == first.closed()
    assert second.relay.changes == []
    await asyncio.sleep(0.1)
    assert first.gone
    assert second.gone


def _frame(opcode: int, data: bytes, *, fin: bool = True, rsv1: bool = False, masked: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode])
    length = len(data)
    if length < 126:
        size = bytes([length | (0x80 if masked else 0)])
    elif length < 65_536:
        size = bytes([126 | (0x80 if masked else 0)]) + struct.pack(">H", length)
    else:
        size = bytes([127 | (0x80 if masked else 0)]) + struct.pack(">Q", length)
    return head + size + (bytes(4) if masked else b"") + data  # a mask of zeros


LIST = b'{"method":"LIST_SUBSCRIPTIONS","id":5}'


@pytest.mark.parametrize("pieces", [1, 2, len(LIST)])
@pytest.mark.parametrize("opcode", [1, 2])
async def test_messages_in_several_frames_in_several_chunks_also_as_bytes(pieces: int, opcode: int) -> None:
    client = ListenerClient(VirtualClock())
    size = -(-len(LIST) // pieces)
    parts = [LIST[at : at + size] for at in range(0, len(LIST), size)]
    sent = b"".join(_frame(0 if n else opcode, part, fin=n == len(parts) - 1) for n, part in enumerate(parts))
    for byte in sent:
        client.feed(bytes([byte]))
    assert client.texts == ['{"result":[],"id":5}']


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_frame(1, LIST, masked=False), 1002),
        (_frame(1, LIST, rsv1=True), 1002),  # compressed, which was not agreed upon
        (_frame(3, LIST), 1002),  # no such kind of frame
        (_frame(0, LIST), 1002),  # continues nothing
        (_frame(1, b"a", fin=False) + _frame(1, b"b"), 1002),
        (_frame(9, b"x" * 126), 1002),  # a ping that is too long
        (_frame(9, b"x", fin=False), 1002),
        (_frame(8, b"\x03"), 1002),
        (_frame(8, struct.pack(">H", 1_005)), 1002),
        (_frame(1, b"\xff\xfe"), 1007),
        (_frame(1, b"x" * 65_537), 1009),
        (_frame(1, b"x" * 40_000, fin=False) + _frame(0, b"x" * 40_000), 1009),
        (_frame(1, b"", fin=False) + _frame(0, b"", fin=False) * 64, 1009),
        (bytes([0x81, 0xFF]) + struct.pack(">Q", 2**62), 1009),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(data: bytes, code: int) -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.feed(data)
    assert client.close_code() == code
    assert client.counted() == {"protocol": 1}
    client.relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    assert client.texts == []
    await asyncio.sleep(0)
    assert client.gone


async def test_what_is_no_request_is_answered_and_the_connection_goes_on() -> None:
    client = ListenerClient(VirtualClock())
    for text in (b"garbage", b'{"method":"NO","id":1}', b"\x00"):
        client.feed(_frame(1, text))
    client.feed(_frame(2, b"\xff"))
    assert [json.loads(text)["code"] for text in client.texts] == [3, 2, 3, 3]
    client.say(method="LIST_SUBSCRIPTIONS", id=1)
    assert client.texts[-1] == '{"result":[],"id":1}'


async def test_ten_thousand_topics_in_one_message() -> None:
    client = ListenerClient(VirtualClock())
    client.say(method="SUBSCRIBE", params=[f"symbol{n}@kline_1m" for n in range(10_000)], id=1)
    assert client.close_code() == 1009
    assert client.relay.changes == []
    await asyncio.sleep(0)
    assert client.gone


async def test_half_a_frame_and_then_nothing() -> None:
    client = ListenerClient(VirtualClock())
    client.pongs = False
    client.feed(_frame(1, LIST)[:10])
    await asyncio.sleep(81)
    assert client.closed() == (1008, "Pong timeout")
    assert client.counted() == {"no_pong": 1}
    await asyncio.sleep(3)
    assert client.gone


async def test_the_closing_handshake_of_a_client() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.feed(_frame(8, struct.pack(">H", 1_000) + b"bye"))
    assert client.closed() == (1000, "bye")
    client.relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.gone
    assert client.texts == []


async def test_the_relay_ends_a_connection() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.connection.close(1012, "connection to Binance lost " + "ü" * 100)
    assert client.close_code() == 1012
    assert (client.closed() or (0, ""))[1].startswith("connection to Binance lost")
    client.relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    client.connection.close(1008, "again")
    assert client.texts == []
    await asyncio.sleep(0.1)
    assert client.gone


async def test_who_takes_no_part_in_the_end_is_cut_off() -> None:
    client = ListenerClient(VirtualClock())
    client.pongs = client.ends = False
    client.connection.close(1012, "lost")
    await asyncio.sleep(2.9)
    assert not client.gone
    client.ping(times=10)  # answers are due even now
    await asyncio.sleep(0.2)
    assert client.transport.aborted
    assert client.gone


async def test_who_reads_nothing_is_cut_off() -> None:
    client = ListenerClient(VirtualClock(), f"/usdm/ws/{BTC}")
    client.reads = False
    for _ in range(59):
        client.relay.publish(BTC, DATA, Market.USDM)
        await asyncio.sleep(0)
        await asyncio.sleep(1)
    assert client.connection.waiting_bytes() > 59 * len(DATA)
    assert not client.gone
    await asyncio.sleep(2)
    assert client.transport.aborted
    assert client.counted() == {"unread": 1}
    assert client.gone


async def test_who_reads_slowly_stays() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.reads = False
    for _ in range(60):
        await asyncio.sleep(10)
        client.relay.publish(BTC, DATA)
        await asyncio.sleep(0)
        last = client.transport.waiting.pop()
        client.read()
        client.transport.waiting.append(last)  # something waits at every moment
    assert not client.gone


async def test_answers_that_are_not_read_are_bounded() -> None:
    client = ListenerClient(VirtualClock())
    topics = [f"{n:05}.{'x' * 40}@trade" for n in range(1_000)]
    client.say(method="SUBSCRIBE", params=topics, id=1)
    client.reads = False
    for n in range(100):
        client.say(method="LIST_SUBSCRIPTIONS", id=n)
        await asyncio.sleep(0.2)
        if client.gone:
            break
    assert client.gone
    assert MOST_WAITING_BYTES < client.connection.waiting_bytes() < MOST_WAITING_BYTES + 100_000


async def test_what_the_relay_refuses_may_come_again() -> None:
    relay = FakeRelay()
    relay.trouble = "Binance can't be asked now: banned"
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}", relay=relay)
    assert client.closed() == (1013, relay.trouble)
    assert client.counted() == {"unavailable": 1}
    assert relay.changes == []
    await asyncio.sleep(0.1)
    assert client.gone


async def test_who_connected_before_is_refused_with_his_first_topic_and_who_listens_is_kept() -> None:
    early, listening = ListenerClient(VirtualClock()), ListenerClient(VirtualClock(), f"/ws/{BTC}")
    early.relay.trouble = listening.relay.trouble = "the gate of spot is closed"
    for client in (early, listening):
        client.say(method="LIST_SUBSCRIPTIONS", id=1)
        client.say(method="SUBSCRIBE", params=[ETH], id=2)
    assert (early.texts, early.closed()) == (['{"result":[],"id":1}'], (1013, early.relay.trouble))
    assert early.relay.changes == []
    assert listening.closed() is None
    assert listening.texts[-1] == '{"result":null,"id":2}'


async def test_the_daemon_stops() -> None:
    client = ListenerClient(VirtualClock(), f"/ws/{BTC}")
    client.connection.shutdown()
    client.relay.publish(BTC, DATA)
    await asyncio.sleep(0)
    assert client.closed() is None
    assert client.texts == [DATA.decode()]
    client.listeners.drain(5.0)
    await asyncio.sleep(0.1)
    assert client.closed() == (1001, "mdcache is shutting down")
    assert client.gone
    assert client.listeners.refusal() is not None
