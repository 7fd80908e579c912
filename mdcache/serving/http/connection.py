"""One client connection: uvicorn's httptools protocol, with limits, and the fast lane before it.

uvicorn limits neither the size of a header nor the time until it is complete, and never closes a connection on which
nothing was sent, or whose client does not read its answer. Here a message has a time-out. Its header may have
`MAX_HEADER_BYTES`, its body, which only the operators' paths read, `MAX_BODY_BYTES`, and all that follows its header
twice that. What follows the body is not kept. A client must read some of a waiting answer from time to time.

uvicorn reads on after each answer, however many pipelined requests wait, and parses all that has come at once. Here
requests that come while others wait are parsed when those are answered.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from mdcache.serving.binance.request import is_loopback
from mdcache.serving.errors import error_body
from mdcache.serving.http.fast_lane import RAW_REQUEST_EXTENSION, FastLane, is_single_get
from mdcache.serving.http.header_checks import ambiguity, header_size
from mdcache.serving.http.response_cycle import PARTS, ResponseCycle
from mdcache.serving.http.unread_answers import COUNTED_BYTES, AnswerReader, UnreadAnswers
from mdcache.serving.streams.handshakes import ListenerHandshakes, UpgradeOffer, UpgradeRefused

MAX_HEADER_BYTES = 65_536
MAX_BODY_BYTES = 65_536
_READ_FIRST_S = 0.01  # a stopped process wakes with timers that are due before what has come meanwhile is read
_SLICE_BYTES = 2_048  # parsed at once: then it is looked whether requests wait; the smallest have twenty
_MAX_REST_BYTES = 2 * MAX_BODY_BYTES  # of a message after its header: chunks have sizes, and may be followed by fields
_FRAMING_HEADERS = frozenset({b"connection", b"content-length", b"transfer-encoding"})  # what follows the header


@dataclass(frozen=True, slots=True)
class ConnectionTimes:
    """What a connection has time for, in seconds.

    `message`: from its first byte, or the connection's start, to its last; `client_read`: to read some of an answer
    that waits; `keep_alive`: to ask again, up to twice that; `last_request`: to ask once more when the daemon stops.
    """

    message: float = 10.0
    client_read: float = 60.0
    keep_alive: int = 75  # as nginx: clients poll every few seconds, and a new connection costs more than an idle one
    last_request: float = 1.0


class HeaderRefusedError(Exception):
    """The header exceeds the limit, does not name one host, or frames the body in an unknown way."""


class ClientConnection(HttpToolsProtocol):
    """One connection; the server's subclass sets `fast_lanes` and `streams`."""

    fast_lanes: ClassVar[Mapping[bool, FastLane]]  # of peers on this machine, and of others
    streams: ClassVar[ListenerHandshakes | None] = None
    times: ClassVar[ConnectionTimes] = ConnectionTimes()
    unread: ClassVar[UnreadAnswers] = UnreadAnswers()
    max_connections: ClassVar[int] = sys.maxsize
    draining: ClassVar[bool] = False  # each answer is the last one of its connection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._between_messages = True  # between messages
        self._app_called = False  # the application, at least once: there is a cycle
        self._in_header = False
        self._began_in_chunk = False  # a message in this chunk
        self._header_bytes = 0  # bytes of chunks that contain only header
        self._rest_bytes = 0  # the same, of what follows it
        self._unparsed = b""  # came while requests wait
        self._header_suspect = False  # this header may be too large: it came in several chunks, or in a very large one
        self._refusal: tuple[int, str] | None = None  # of the header
        self._body_bytes = 0
        self._answered: RequestResponseCycle | None = None  # the request that is, or was last
        self._repeating_head = False  # to a new parser
        self._upgrading = False  # to a stream
        self._raw_request: bytes | None = None
        self._message_timer: asyncio.TimerHandle | None = None
        self._only_hits = False  # nothing but hits has passed since the keep-alive timer was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # asyncio's is wider
        """Start the timer for the first message; close the connection if there are too many."""
        super().connection_made(transport)
        self._reader = AnswerReader(transport, self.unread, self.times.client_read)
        if len(self.connections) > self.max_connections:
            transport.close()
            return
        self._fast_lane = self.fast_lanes[is_loopback(self.client[0] if self.client else None)]
        self._start_message_timer()
        if self.draining:  # accepted just before
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers; tell what answers now, which is not the newest request if others wait behind it."""
        self._stop_message_timer()
        self._reader.stop()
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer known bytes at once; pass all others to the parser."""
        if self._only_hits or self._may_answer_at_once():
            reply = self._fast_lane.answer(data, self.server_state.default_headers, self.client)
            if reply is not None:
                if reply.body:
                    self.transport.writelines((reply.head, reply.body))
                    if len(reply.body) > COUNTED_BYTES:
                        self._reader.sent(reply.body)
                else:
                    self.transport.write(reply.head)
                if not self._only_hits:
                    self._note_hit()
                return
            self._raw_request = data if is_single_get(data) else None
        else:
            self._raw_request = None
        self._receive_to_parse(data)

    def _receive_to_parse(self, data: bytes) -> None:
        self._only_hits = False
        if self._unparsed:
            self._unparsed += data
            self.flow.pause_reading()
            return
        idle, in_header = self._between_messages, self._in_header
        self._header_suspect = in_header or len(data) > MAX_HEADER_BYTES
        self._began_in_chunk = False
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._upgrading or self.transport.is_closing() or (idle and not self._began_in_chunk):  # blank lines
            return
        if not self._began_in_chunk and not self._within_bounds(len(data), in_header=in_header):
            return
        if self._between_messages or self._began_in_chunk or self._unparsed:
            self._stop_message_timer()
        if self._message_timer is None and not self._between_messages and not self._unparsed:
            self._start_message_timer()

    def _within_bounds(self, received: int, *, in_header: bool) -> bool:
        """Count a chunk in which no message began; end the connection if there is too much of the message."""
        if in_header and self._in_header:
            self._header_bytes += received
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, "The header is too large.")
                return False
        elif not in_header and not self._between_messages:
            self._rest_bytes += received
            if self._rest_bytes > _MAX_REST_BYTES:
                self._end_after_answer()
                return False
        return True

    def on_message_begin(self) -> None:
        """Start a message."""
        if self._repeating_head:
            return
        self._unset_keepalive_if_required()
        self._between_messages = False
        self._in_header = self._began_in_chunk = True
        self._header_bytes = self._rest_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Pass a complete header to the application, unless it is too large."""
        if self._repeating_head:
            return
        self._in_header = False
        if self._header_suspect and header_size(self.url, self.headers) > MAX_HEADER_BYTES:
            self._refusal = (431, "The header is too large.")
        else:
            self._refusal = ambiguity(self.url, self.headers, self.parser.get_http_version())
        if self._refusal is not None:
            raise HeaderRefusedError
        if self.streams is not None and self.parser.should_upgrade() and self._idle():
            self._upgrading = self.streams.serves(self.headers, self.url)
            if self._upgrading:  # `_parse` goes on, as soon as the parser has ended
                return
        self.scope["extensions"] = {PARTS: {}}
        if self._raw_request is not None:
            self.scope["extensions"][RAW_REQUEST_EXTENSION] = {"bytes": self._raw_request}
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1: such a client knows no 1xx answers
        super().on_headers_complete()
        self.cycle.__class__ = ResponseCycle  # uvicorn names the class of what it makes itself
        if self.draining:
            self.cycle.keep_alive = False
        self._app_called = True
        self.headers = []  # fields after the body are no header: the application has the list so far

    def on_body(self, body: bytes) -> None:
        """Pass on a chunk of the body, up to the limit."""
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            super().on_body(body)
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a message."""
        if self.parser.should_upgrade():  # the offer ended it for the parser: its body, if any, is yet to come
            return
        self._between_messages = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Restart the keep-alive timer; parse what came while other requests waited."""
        self._reader.watch()
        if isinstance(self._answered, ResponseCycle) and self._answered.long_body:
            self._reader.sent(self._answered.long_body)
            self._answered.long_body = None
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self._between_messages:  # the next one has begun
            self._unset_keepalive_if_required()
        if self.pipeline:
            self.flow.pause_reading()
        elif self._unparsed:
            data, self._unparsed = self._unparsed, b""
            self._receive_to_parse(data)

    def pause_writing(self) -> None:
        """Start the timer for a client that reads too slowly."""
        super().pause_writing()
        self._only_hits = False
        self._reader.watch()

    def resume_writing(self) -> None:
        """Note that the client has read what waited."""
        self._reader.drained()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless the fast lane, which uvicorn does not know, answered on it meanwhile."""
        if self._only_hits and not self.transport.is_closing():
            self._only_hits = False
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        self._reader.watch()  # a transport with unsent data stays open until it is sent
        self.timeout_keep_alive_task = self.loop.call_later(_READ_FIRST_S, self._close_unless_asked)

    def shutdown(self) -> None:
        """End the connection with its next answer, or soon if none is asked for (docs/design.md#clean-ends)."""
        self._only_hits = False
        if self._idle():
            self.loop.call_later(self.times.last_request, self._close_unless_asked)
        else:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Answer in Binance's form what the parser rejects."""
        if not self._idle():  # an answer is being sent: it must not be interrupted, nor followed by another
            self.cycle.keep_alive = False
        else:
            self._refuse(*(self._refusal or (400, msg)))

    # ------------------------------------------------------------------------------------ parts

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _parse(self, data: bytes) -> None:
        """Parse `data` until requests wait. An offer of another protocol is ignored, but for streams.

        docs/design.md#connections
        """
        rest = memoryview(data)
        while rest and not self.pipeline and not self.transport.is_closing():
            parsed = len(rest[:_SLICE_BYTES])
            try:
                self.parser.feed_data(rest[:parsed])
            except httptools.HttpParserUpgrade as offer:
                parsed = offer.args[0]
                if self._upgrading and self.streams is not None:
                    self._upgrade(self.streams, bytes(rest[parsed:]))
                    return
                self._continue_without_offer()
            rest = rest[parsed:]
        self._unparsed = bytes(rest)

    def _continue_without_offer(self) -> None:
        """Replace the parser: after an offer, it takes all that follows for another protocol."""
        head = [b"%b / HTTP/%b\r\n" % (self.parser.get_method(), self.parser.get_http_version().encode())]
        head += [b"%b: %b\r\n" % field for field in self.scope["headers"] if field[0] in _FRAMING_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._repeating_head = True
        self.parser.feed_data(b"".join([*head, b"\r\n"]))
        self._repeating_head = False

    def _upgrade(self, streams: ListenerHandshakes, rest: bytes) -> None:
        """Answer the handshake of a stream; if it is accepted, the connection has another protocol from now on."""
        method, version = self.parser.get_method().decode(), self.parser.get_http_version()
        address = self.client[0] if self.client else ""
        offer = UpgradeOffer(method, self.url.decode("latin-1"), version, self.headers, address)
        answer = streams.answer(offer, self.connections)
        self._stop_message_timer()
        if isinstance(answer, UpgradeRefused):
            self._refuse(answer.status, answer.msg, answer.code, answer.fields)
            return
        self._reader.stop()
        self.connections.discard(self)
        self.transport.write(answer.response)
        self.transport.set_protocol(answer.connection)
        answer.connection.connection_made(self.transport)
        if rest:
            answer.connection.data_received(rest)

    def _idle(self) -> bool:
        """Return whether no answer is being sent."""
        return not self._app_called or (self.cycle.response_complete and not self.pipeline)

    def _may_answer_at_once(self) -> bool:
        return (
            self._between_messages
            and self._idle()
            and not self._unparsed
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and not self.draining
        )

    def _note_hit(self) -> None:
        """Set the timers as after any message; what `_may_answer_at_once` found stays true as long as hits follow."""
        self._only_hits = not self.flow.write_paused
        self._stop_message_timer()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _close_unless_asked(self) -> None:
        """Close the connection, unless a request has begun, or the fast lane has answered one: more may follow."""
        if self._only_hits and not self.transport.is_closing():
            self.timeout_keep_alive_handler()
        elif self._idle() and self._between_messages:
            self.transport.close()

    def _default_fields(self) -> bytes:
        """Return `Date` and `Server` as bytes."""
        return b"".join(b"%b: %b\r\n" % pair for pair in self.server_state.default_headers)

    def _start_message_timer(self) -> None:
        self._message_timer = self.loop.call_later(self.times.message, self._on_message_timeout)

    def _stop_message_timer(self) -> None:
        if self._message_timer is not None:
            self._message_timer.cancel()
            self._message_timer = None

    def _on_message_timeout(self) -> None:
        self._message_timer = self.loop.call_later(_READ_FIRST_S, self._end_late_message)

    def _end_late_message(self) -> None:
        self._message_timer = None
        if self.transport.is_closing():
            return
        if self._in_header:
            self._refuse(408, "The request did not arrive in time.")
        else:
            self._end_after_answer()

    def _end_after_answer(self) -> None:
        """End the connection once no answer is being sent; read no more of it meanwhile, but for who reads the body."""
        if self._idle():
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            self.flow.pause_reading()

    def _refuse(self, status: int, msg: str, code: int = -1100, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send the error if no answer is being sent, and close the connection."""
        if self._idle():
            body = error_body(code, msg)
            more = b"".join(b"%b: %b\r\n" % field for field in fields)
            head = b"%b%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.writelines((head % (STATUS_LINE[status], self._default_fields(), more, len(body)), body))
        self.transport.close()
