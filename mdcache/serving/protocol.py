"""One client connection: uvicorn's httptools protocol, with the fast lane before it and bounds around it.

uvicorn bounds neither the bytes of a header nor the time until it is complete, and a connection on which
nothing was ever sent, or whose client reads no answer, stays for good. Here a message has `WHOLE_WITHIN_S`
from its first byte (or from the connection's start) to its last, its header `MOST_HEADER_BYTES`, and its body,
which nobody reads but the operators' paths, `MOST_BODY_BYTES`; and of an answer that waits to be read, some must
be in every `READ_WITHIN_S`.
"""

import asyncio
import sys
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from mdcache.serving.app import WHOLE_REQUEST
from mdcache.serving.asked import is_near
from mdcache.serving.lane import FastLane, whole
from mdcache.serving.refusals import body_of

MOST_HEADER_BYTES = 65_536
MOST_BODY_BYTES = 65_536
WHOLE_WITHIN_S = 10.0
READ_WITHIN_S = 60.0


class TooMuchHeaderError(Exception):
    """A header of more bytes than are read."""


class Connection(HttpToolsProtocol):
    """One connection; `lane` is set by the server's own subclass."""

    lane: ClassVar[FastLane]
    whole_within_s: ClassVar[float] = WHOLE_WITHIN_S
    read_within_s: ClassVar[float] = READ_WITHIN_S
    most_connections: ClassVar[int] = sys.maxsize

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._near = False
        self._between = True  # no message has begun that is not complete
        self._asked = False  # the application, at least once: there is a cycle
        self._in_header = False
        self._begun = False  # a message, in this chunk
        self._header_bytes = 0  # of chunks that were all header
        self._suspect = False  # this header may be too large: it came in pieces, or in a very large one
        self._too_large = False
        self._body_bytes = 0
        self._whole: bytes | None = None
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._served = 0  # by the fast lane, since the keep-alive timer was set
        self._defaults: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected; it has until `WHOLE_WITHIN_S` to say something whole. One too many is let go."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.close()
            return
        self._near = is_near(self.client[0] if self.client else None)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._unwatch()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came: known ones are answered here, others go through the parser."""
        self._whole = None
        if self._between and whole(data) and self._idle() and not self.flow.write_paused:
            if self._served_by_lane(data):
                return
            self._whole = data
        in_header = self._in_header
        self._suspect = in_header or len(data) > MOST_HEADER_BYTES
        self._begun = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if in_header and self._in_header and not self._begun:
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES:
                self._refuse(431, "The header is too large.")
                return
        if self._between:
            self._unwatch()
        elif self._late is None:
            self._watch()

    def on_message_begin(self) -> None:
        """A message's first byte."""
        self._between = False
        self._in_header = self._begun = True
        self._header_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its header is whole: hand it to the application."""
        self._in_header = False
        if self._suspect and _size(self.url, self.headers) > MOST_HEADER_BYTES:
            self._too_large = True
            raise TooMuchHeaderError
        if self._whole is not None:
            self.scope["extensions"] = {WHOLE_REQUEST: {"bytes": self._whole}}
        super().on_headers_complete()
        self._asked = True
        if self.parser.should_upgrade():  # to what we don't speak: answered as plain HTTP, and that is all
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._body_bytes += len(body)
        if self._body_bytes <= MOST_BODY_BYTES:
            super().on_body(body)
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Its last byte."""
        self._between = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The application answered; the keep-alive timer starts anew."""
        self._served = 0
        self._watch_reader()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads slower than it is answered."""
        super().pause_writing()
        self._watch_reader()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing passed through uvicorn for a while; what the fast lane served counts as well."""
        if self._served and not self.transport.is_closing():
            self._served = 0
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        self._watch_reader()  # what is closed with something unread stays until it is read
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """What the parser does not take, in Binance's form."""
        if not self._idle():  # an answer is on its way: it must not be cut in two, nor be followed by another
            self.cycle.keep_alive = False
        elif self._too_large:
            self._refuse(431, "The header is too large.")
        else:
            self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """A client's wish for another protocol is none of the operator's business."""

    # ------------------------------------------------------------------------------------ parts

    def _idle(self) -> bool:
        """No answer is on its way."""
        return not self._asked or (self.cycle.response_complete and not self.pipeline)

    def _served_by_lane(self, data: bytes) -> bool:
        reply = self.lane.answer(data, self._default_fields(), near=self._near)
        if reply is None or self.transport.is_closing():
            return False
        if self._late is not None:
            self._unwatch()
        if self.timeout_keep_alive_task is None:  # the first request of this connection
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        self._served += 1
        self.transport.writelines(reply)
        return True

    def _default_fields(self) -> bytes:
        """`Date` and `Server` as bytes; uvicorn replaces their list once a second."""
        current = self.server_state.default_headers
        if self._defaults[0] is not current:
            self._defaults = current, b"".join(b"%b: %b\r\n" % pair for pair in current)
        return self._defaults[1]

    def _watch(self) -> None:
        self._late = self.loop.call_later(self.whole_within_s, self._too_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _watch_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting and self._unread is None:
            self._unread = self.loop.call_later(self.read_within_s, self._look_after_reader, waiting)

    def _look_after_reader(self, waiting: int) -> None:
        """End the connection if nothing was read since `waiting` bytes waited."""
        self._unread = None
        if self.transport.get_write_buffer_size() == waiting:
            self.transport.abort()
        else:
            self._watch_reader()

    def _too_late(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self._in_header:
            self._refuse(408, "The request did not arrive in time.")
        elif self._idle():
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _refuse(self, status: int, msg: str) -> None:
        """Say so if no answer is on its way, and end the connection."""
        if self._idle():
            body = body_of(-1100, msg)
            head = b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.writelines((head % (STATUS_LINE[status], self._default_fields(), len(body)), body))
        self.transport.close()


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in headers)
