"""Random bytes against a listener's connection: it ends as the library's own protocol says, or as our limits do."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close
from websockets.protocol import State
from websockets.server import ServerProtocol

from mdcache.serving.listeners import Listeners
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.streams.handshakes import ListenerHandshakes, UpgradeAccepted, UpgradeOffer
from tests.support.fake_relay import FakeRelay
from tests.support.listener_client import ListenerClient
from tests.support.virtual_time import VirtualClock, run

_OURS = {1007, 1008}  # for texts that are none, and for too many messages, of which the library says nothing


def _frame(opcode: int, data: bytes, flags: int, mask: bytes | None) -> bytes:
    head = bytes([flags | opcode])
    bit = 0 if mask is None else 0x80
    size = bytes([bit | len(data)]) if len(data) < 126 else bytes([bit | 126]) + struct.pack(">H", len(data))
    if mask is None:
        return head + size + data
    return head + size + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


_PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"", b'{"method":"LIST_SUBSCRIPTIONS","id":1}', struct.pack(">H", 1000), b"\xff" * 130]),
)
_FRAMES = st.builds(
    _frame,
    st.sampled_from([0, 1, 1, 1, 2, 3, 8, 9, 10]),
    _PAYLOADS,
    st.sampled_from([0x80, 0x80, 0x80, 0x80, 0, 0xC0]),
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.none()),
)


def _reference(data: bytes) -> Close | None:
    protocol = ServerProtocol(state=State.OPEN, max_size=65_536)
    protocol.receive_data(data)
    return protocol.close_sent


@given(
    frames=st.lists(_FRAMES, max_size=8), noise=st.binary(max_size=20), cuts=st.lists(st.integers(1, 60), max_size=9)
)
def test_any_bytes_in_any_chunks(frames: list[bytes], noise: bytes, cuts: list[int]) -> None:
    data = b"".join(frames) + noise

    async def feed() -> ListenerClient:
        client = ListenerClient(VirtualClock())
        client.pongs = False
        rest = data
        for cut in cuts:
            client.feed(rest[:cut])
            rest = rest[cut:]
        client.feed(rest)
        return client

    client = run(feed())
    expected = _reference(data)
    if client.close_code() not in _OURS:
        assert client.close_code() == (None if expected is None else expected.code)
    assert client.relay.changes == []


_RIGHT = {
    b"host": b"localhost",
    b"connection": b"Upgrade",
    b"upgrade": b"websocket",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": b"AAAAAAAAAAAAAAAAAAAAAA==",
}
_VALUES = st.one_of(
    st.binary(max_size=12), st.sampled_from([b"http://[", b"null", b"http://localhost", b",", b'"', b"a;b=", b"13"])
)
_TARGETS = st.one_of(
    st.text(st.sampled_from("/wsstreamusdm%2F?=&@+!#"), max_size=20),
    st.sampled_from(
        ["/stream?streams=%", "/ws/%ff%fe", "/ws?timeUnit", "/usdm/public/ws/" + "a" * 200, "/stream/ws/7"]
    ),
)


@given(
    target=_TARGETS,
    changed=st.dictionaries(st.sampled_from([*_RIGHT, b"origin", b"sec-websocket-extensions"]), _VALUES, max_size=3),
    method=st.sampled_from(["GET", "GET", "POST", "PRI"]),
)
def test_any_handshake_is_accepted_or_refused(target: str, changed: dict[bytes, bytes], method: str) -> None:
    async def answer() -> None:
        clock, listeners = VirtualClock(), Listeners(1)
        handshakes = ListenerHandshakes(FakeRelay(), listeners, clock, AllowedHosts())
        answered = handshakes.answer(UpgradeOffer(method, target, "1.1", list((_RIGHT | changed).items())), set())
        if isinstance(answered, UpgradeAccepted):
            assert answered.response.startswith(b"HTTP/1.1 101 ")
        else:
            assert 400 <= answered.status < 600
            assert answered.msg

    run(answer())
