"""A listener's connection, after its handshake: `websockets` for the protocol, the session for what is said in it.

The relay's frames are written as the bytes that all listeners share; everything else goes through `ServerProtocol`,
which answers pings and checks what comes. Every end is bounded: a client that does not answer pings or the closing
handshake, or does not read, is cut off.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from mdcache.clock import Clock
from mdcache.errors import ClientLimited
from mdcache.exchange.markets import Market
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.ports import Listener
from mdcache.serving.listeners import ListenerEnd, ListenerKind, Listeners
from mdcache.serving.streams.batched_writes import BatchedWrites
from mdcache.serving.streams.listener_messages import error_message
from mdcache.serving.streams.paths import StreamPath
from mdcache.serving.streams.session import ListenerSession, MessageOutcome

PING_EVERY_S = 20.0
PONG_TIMEOUTS_S = {Market.SPOT: 60.0, Market.USDM: 600.0, Market.COINM: 600.0}  # docs/binance.md#stream-connections
READ_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 3.0
MOST_WAITING_BYTES = 1024 * 1024  # of answers; the relay's frames have their own rules
_MESSAGE_BYTES = 65_536  # 1,024 topics have some 25 KB
_MOST_PIECES = 64  # of one message
_SLICE_BYTES = 1_024  # of what came, until the limit of messages is looked at: the smallest have six bytes
_UNSENT_BYTES = 128 * 1024  # in the socket of a client that reads too slowly
_REASON_BYTES = 123
_logger = logging.getLogger("mdcache.streams")  # warnings only, as for all libraries


@dataclass(frozen=True, slots=True)
class ListenerTimes:
    """What a listener has time for, in seconds; `pong`: by its market if it is not given."""

    ping_every: float = PING_EVERY_S
    pong: float | None = None
    read: float = READ_TIMEOUT_S
    close: float = CLOSE_TIMEOUT_S


class ListenerRelay(Protocol):
    """What brings the frames: `mdcache.relay.relay.Relay`."""

    def subscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        """Send a listener the frames of topics from now on."""

    def unsubscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        """Send it no more of them."""

    def leave(self, listener: Listener) -> None:
        """Send it nothing more; may be repeated."""

    def refusal(self, market: Market) -> str | None:
        """Return why frames would not come now."""


class ListenerConnection(asyncio.Protocol):
    """One listener."""

    def __init__(
        self,
        path: StreamPath,
        relay: ListenerRelay,
        clock: Clock,
        listeners: Listeners,
        writes: BatchedWrites,
        peers: set[Any],
        times: ListenerTimes,
        client: str,
    ) -> None:
        self.session = ListenerSession(path)
        self.market = path.market
        self._name = client
        self._address = ""
        self.client = client  # or what is connected
        self._first_topics = path.topics
        self._relay = relay
        self._clock = clock
        self._listeners = listeners
        self._writes = writes
        self._peers = peers  # all connections of the server
        self._times = times
        self._pong_s = PONG_TIMEOUTS_S[path.market] if times.pong is None else times.pong
        self._protocol = ServerProtocol(state=State.OPEN, max_size=_MESSAGE_BYTES, logger=_logger)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._listening = False  # or it did
        self._ended = False  # from this side: nothing more is sent
        self._batch: list[bytes] = []  # frames that are not written yet
        self._batch_bytes = 0
        self._pieces: list[bytes] = []  # of a message in several frames
        self._binary = False
        self._pings: deque[tuple[bytes, float]] = deque()  # unanswered: payload, and when sent
        self._written = 0
        self._read = 0  # of what was written, when the client was last seen to read
        self._read_s = clock.now()
        self._timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------------------------- asyncio's

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # asyncio's is wider
        """Take over the connection, just after the answer to its handshake, and subscribe to the address's topics."""
        self._transport = transport
        self._peers.add(self)
        self._listeners.add(self, self.market, ListenerKind.WEBSOCKET)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.client = self._name or self._address
        found = transport.get_extra_info("socket")
        if found is not None and found.family in {socket.AF_INET, socket.AF_INET6}:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        self._timer = self._loop.call_later(self._times.ping_every, self._tick)
        if not self._refused():
            self._apply(self.session.subscribe(self._first_topics))

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        rest = memoryview(data)
        while rest and not self._transport.is_closing():
            self._protocol.receive_data(rest[:_SLICE_BYTES].tobytes())
            rest = rest[_SLICE_BYTES:]
            if self._protocol.state is not State.OPEN:  # ended within the slice: what came before is not answered
                if self._protocol.parser_exc is not None and not self._ended:
                    self._listeners.count_end(self.market, ListenerEnd.PROTOCOL)
                self._end()
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(event)
            self._flush()

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Leave the relay."""
        self._ended = True
        self._forget_batch()
        if self._timer is not None:
            self._timer.cancel()
        self._peers.discard(self)
        self._relay.leave(self)
        self._listeners.remove(self)

    # -------------------------------------------------------------------------------- the relay's

    def send(self, frame: RelayedFrame) -> None:
        """Send a frame."""
        if not self._ended:
            message = frame.combined_message() if self.session.combined else frame.raw_message()
            if not self._batch:
                self._writes.add(self)
            self._batch.append(message)
            self._batch_bytes += len(message)

    def write_batch(self) -> None:
        """Write the frames that have come since the last write."""
        if self._batch:
            self._transport.writelines(self._batch)  # as they are: waiting for a slow client, they are still shared
            self._written += self._batch_bytes
            self._forget_batch()

    def waiting_bytes(self) -> int:
        """Return how many bytes the client's socket has not taken yet."""
        return self._transport.get_write_buffer_size() + self._batch_bytes

    def tell(self, code: int, msg: str) -> None:
        """Send an error of the exchange's, in its form."""
        if not self._ended:
            self._protocol.send_text(error_message(code, msg).encode())
            self._flush()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; cut the connection off if the client does not take part in it."""
        if not self._ended:
            self._protocol.send_close(code, _short(reason))
            self._end()

    # ----------------------------------------------------------------------------------- server's

    def drain(self) -> None:
        """Close the connection: the daemon stops, and its listeners are told so one after the other."""
        self.close(CloseCode.GOING_AWAY, "mdcache is shutting down")

    def shutdown(self) -> None:
        """Wait for `drain`: this is called for all connections at once."""

    # -------------------------------------------------------------------------------------- parts

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._end()
            return
        if frame.opcode is not Opcode.CONT and not self.session.allows_message(self._clock.now()):
            self._fail(CloseCode.POLICY_VIOLATION, "Too many requests", ListenerEnd.MESSAGES)
        elif frame.opcode is Opcode.PONG:
            self._pong(bytes(frame.data))
        elif frame.opcode is not Opcode.PING and not self._ended:
            try:
                self._listeners.limits.charge(self._address, self._name)
            except ClientLimited:
                self._fail(CloseCode.POLICY_VIOLATION, "Too many requests", ListenerEnd.LIMITED)
            else:
                self._collect(frame)

    def _pong(self, payload: bytes) -> None:
        """Note that a ping was answered, and with it all earlier ones; what answers none keeps nothing open."""
        if any(sent == payload for sent, _ in self._pings):
            while self._pings.popleft()[0] != payload:
                pass

    def _collect(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._binary = frame.opcode is Opcode.BINARY
        self._pieces.append(bytes(frame.data))
        if len(self._pieces) > _MOST_PIECES:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "message in too many frames")
        elif frame.fin:
            message, self._pieces = b"".join(self._pieces), []
            try:
                text = message.decode(errors="replace" if self._binary else "strict")
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "invalid UTF-8")
                return
            self._apply(self.session.receive(text))

    def _apply(self, outcome: MessageOutcome) -> None:
        """Answer, then let the relay know, so that no frame comes before the answer."""
        if outcome.added and not self._listening and self._refused():
            return
        if outcome.reply:
            self._protocol.send_text(outcome.reply.encode())
        if outcome.too_many:
            self._listeners.count_end(self.market, ListenerEnd.TOPICS)
            self.close(CloseCode.POLICY_VIOLATION, "Too many subscriptions")
            return
        self._flush()
        if outcome.removed:
            self._relay.unsubscribe(self, self.market, outcome.removed)
        if outcome.added:
            self._listening = True
            self._relay.subscribe(self, self.market, outcome.added)
        if outcome.reply and self.waiting_bytes() > MOST_WAITING_BYTES:
            self._fail(CloseCode.POLICY_VIOLATION, "answers are not read", ListenerEnd.UNREAD)

    def _refused(self) -> bool:
        """Close the connection of a client that listens to nothing yet, if no frames would come now."""
        refusal = self._relay.refusal(self.market)
        if refusal is not None:
            self._listeners.count_end(self.market, ListenerEnd.UNAVAILABLE)
            self.close(CloseCode.TRY_AGAIN_LATER, refusal)
        return refusal is not None

    def _tick(self) -> None:
        """Ping; end the connection of a client that answers none, or does not read."""
        now_s = self._clock.now()
        self._timer = self._loop.call_later(self._times.ping_every, self._tick)
        self.write_batch()
        read = self._written - self.waiting_bytes()
        if read != self._read or read == self._written:
            self._read, self._read_s = read, now_s
        if now_s - self._read_s >= self._times.read:
            self._listeners.count_end(self.market, ListenerEnd.UNREAD)
            self._transport.abort()
        elif self._pings and now_s - self._pings[0][1] >= self._pong_s:
            self._fail(CloseCode.POLICY_VIOLATION, "Pong timeout", ListenerEnd.NO_PONG)
        else:
            payload = b"%d" % self._clock.wall_ms()
            self._pings.append((payload, now_s))
            self._protocol.send_ping(payload)
            self._flush()

    def _fail(self, code: int, reason: str, end: ListenerEnd = ListenerEnd.PROTOCOL) -> None:
        """Close without waiting for the client's part in it."""
        if not self._ended:
            self._listeners.count_end(self.market, end)
        self._protocol.fail(code, _short(reason))
        self._end()

    def _end(self) -> None:
        """Send what is left, and nothing after it."""
        if not self._ended:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._times.close, self._transport.abort)
        self._flush()

    def _forget_batch(self) -> None:
        self._batch = []
        self._batch_bytes = 0

    def _flush(self) -> None:
        self.write_batch()
        for data in self._protocol.data_to_send():
            if data:
                self._written += len(data)
                self._transport.write(data)
            elif not self._transport.is_closing():
                self._transport.write_eof()
                self._end()


def _short(reason: str) -> str:
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")
