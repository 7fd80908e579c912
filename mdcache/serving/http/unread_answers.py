"""Answers that clients have not read yet: each is bounded in time, and all of them together in memory.

Only long bodies count, each once, however many clients wait for it. If there are too many, the client that has left
its answer unread for the longest time is cut off: a thousand that ask for long answers and read none, each spelled
differently, would take gigabytes.
"""

import asyncio
from collections import Counter

COUNTED_BYTES = 1 << 16  # a shorter body does not count: sockets and transports hold as much anyway
MOST_BYTES = 512 << 20  # twenty-five of spot's `exchangeInfo`


class UnreadAnswers:
    """The long bodies that wait in the sockets of a server's clients."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bodies: dict[asyncio.Transport, bytes] = {}  # the one that waits longest is the first
        self._waiting: Counter[int] = Counter()  # clients, by the body's id
        self.nbytes = 0

    def hold(self, transport: asyncio.Transport, body: bytes) -> None:
        """Note that a body waits; cut off others if there are too many."""
        self.release(transport)
        self._bodies[transport] = body
        self._waiting[id(body)] += 1
        if self._waiting[id(body)] == 1:
            self.nbytes += len(body)
        while self.nbytes > self._most_bytes and len(self._bodies) > 1:
            slowest = next(iter(self._bodies))
            self.release(slowest)
            slowest.abort()

    def release(self, transport: asyncio.Transport) -> None:
        """Note that a client has read its answer, or has gone."""
        body = self._bodies.pop(transport, None)
        if body is not None:
            self._waiting[id(body)] -= 1
            if not self._waiting[id(body)]:
                del self._waiting[id(body)]
                self.nbytes -= len(body)


class AnswerReader:
    """The client of one connection as it reads; it is cut off if it reads nothing for `patience_s`."""

    def __init__(self, transport: asyncio.Transport, unread: UnreadAnswers, patience_s: float) -> None:
        self._transport = transport
        self._unread = unread
        self._patience_s = patience_s
        self._timer: asyncio.TimerHandle | None = None

    def sent(self, body: bytes) -> None:
        """Note that a body was written."""
        if len(body) > COUNTED_BYTES and self._transport.get_write_buffer_size():
            self._unread.hold(self._transport, body)

    def drained(self) -> None:
        """Note that next to nothing of it waits any more."""
        self._unread.release(self._transport)

    def watch(self) -> None:
        """Look again later, if something waits."""
        waiting = self._transport.get_write_buffer_size()
        if waiting and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience_s, self._check, waiting)

    def stop(self) -> None:
        """End: the connection is lost, or has another protocol from now on."""
        self._unread.release(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def _check(self, waiting: int) -> None:
        """Close the connection if the client has read nothing since `waiting` bytes waited."""
        self._timer = None
        left = self._transport.get_write_buffer_size()
        if left == waiting:
            self._transport.abort()
        elif not left:
            self.drained()  # the transport says so only if much waited
        else:
            self.watch()
