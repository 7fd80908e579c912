"""The fast lane: requests whose very bytes were answered from a ready answer before skip parsing and ASGI.

It learns the bytes of a request when its answer was ready; from then on the same bytes mean the same `Asked`.
Whether the answer still stands, and for these wishes, is asked each time.
"""

import re
from collections import OrderedDict

from mdcache.clock import Clock
from mdcache.serving.binance.handler import BinanceHandler
from mdcache.serving.binance.request import ClientRequest

_MAX_REQUESTS = 8_192  # requests known by their bytes, at most `_LONGEST` each
_MAX_REQUEST_BYTES = 2_048
_MAX_TAGS = 8  # each may be looked for, and is an object; a client that polls sends the one it holds
_HEADER_END = b"\r\n\r\n"
# Headers with which one message is not all there is to it: a body, a question back, another protocol, a goodbye.
_UNSUPPORTED_HEADERS = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|expect|upgrade|connection)[ \t]*:", re.IGNORECASE
)
_KEEP_ALIVE = re.compile(rb"\r\nconnection:[ \t]*keep-alive[ \t]*(?=\r\n)", re.IGNORECASE)
_STATUS_LINES = {False: b"HTTP/1.1 200 OK\r\n", True: b"HTTP/1.1 304 Not Modified\r\n"}


class FastLane:
    """Requests known by their bytes."""

    def __init__(self, handler: BinanceHandler, clock: Clock) -> None:
        self._handler = handler
        self._clock = clock
        self._requests: dict[bool, OrderedDict[bytes, ClientRequest]] = {False: OrderedDict(), True: OrderedDict()}

    def learn(self, raw: bytes, client_request: ClientRequest, *, loopback: bool) -> None:
        """`request`, from a peer that is `near` or not, asks `asked`."""
        known = self._requests[loopback]
        if raw not in known and len(client_request.tags) <= _MAX_TAGS and is_repeatable(raw):
            known[raw] = client_request
            if len(known) > _MAX_REQUESTS:
                known.popitem(last=False)

    def answer(self, raw: bytes, default_fields: bytes, *, loopback: bool) -> tuple[bytes, bytes] | None:
        """Head and body of the reply to these bytes; `None` if they must take the long way."""
        asked = self._requests[loopback].get(raw)
        if asked is None:
            return None
        began_s = self._clock.now()
        found = self._handler.find_ready(asked, began_s)
        if found is None:
            return None
        shown, now = found
        form = shown.variant(asked)
        _, raw = shown.fields(form, now, self._handler.used_weight(asked.market, now), from_memory=True)
        head = b"%b%bx-mdcache-as-of: %d\r\n%b\r\n" % (
            _STATUS_LINES[form.not_modified],
            default_fields,
            shown.as_of_ms(now),
            raw,
        )
        self._handler.record_hit(asked, shown, now, began_s)
        return head, shown.body(form)


def is_single_get(data: bytes) -> bool:
    """Whether what arrived may be exactly one GET: begins and ends like one, and nothing else ends within it."""
    return (
        data.startswith(b"GET ")
        and data.find(_HEADER_END) == len(data) - len(_HEADER_END)
        and len(data) <= _MAX_REQUEST_BYTES
    )


def is_repeatable(raw: bytes) -> bool:
    """Whether a `whole` request is HTTP/1.1, has no body, and wants the connection kept."""
    line, _, _ = raw.partition(b"\r\n")
    ends = raw.count(b"\r\n")
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends:
        return False  # whatever a parser makes of a lone CR or LF, the patterns below would not see it
    return line.endswith(b" HTTP/1.1") and not _UNSUPPORTED_HEADERS.search(_KEEP_ALIVE.sub(b"", raw))
