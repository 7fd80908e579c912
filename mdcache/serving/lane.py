"""The fast lane: requests whose very bytes were answered from a ready answer before skip parsing and ASGI.

It learns the bytes of a request when its answer was ready; from then on the same bytes mean the same `Asked`.
Whether the answer still stands, and for these wishes, is asked each time.
"""

import re
from collections import OrderedDict

from mdcache.clock import Clock
from mdcache.serving.asked import Asked
from mdcache.serving.binance import Binance

_MOST = 8_192  # requests known by their bytes, at most `_LONGEST` each
_LONGEST = 2_048
_MOST_TAGS = 8  # each may be looked for, and is an object; a client that polls sends the one it holds
_END = b"\r\n\r\n"
# Headers with which one message is not all there is to it: a body, a question back, another protocol, a goodbye.
_NOT_ALONE = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect|upgrade|connection)[ \t]*:", re.IGNORECASE)
_KEEP_ALIVE = re.compile(rb"\r\nconnection:[ \t]*keep-alive[ \t]*(?=\r\n)", re.IGNORECASE)
_STATUS = {False: b"HTTP/1.1 200 OK\r\n", True: b"HTTP/1.1 304 Not Modified\r\n"}


class FastLane:
    """Requests known by their bytes."""

    def __init__(self, binance: Binance, clock: Clock) -> None:
        self._binance = binance
        self._clock = clock
        self._known: dict[bool, OrderedDict[bytes, Asked]] = {False: OrderedDict(), True: OrderedDict()}

    def learn(self, request: bytes, asked: Asked, *, near: bool) -> None:
        """`request`, from a peer that is `near` or not, asks `asked`."""
        known = self._known[near]
        if request not in known and len(asked.tags) <= _MOST_TAGS and learnable(request):
            known[request] = asked
            if len(known) > _MOST:
                known.popitem(last=False)

    def answer(self, request: bytes, default_fields: bytes, *, near: bool) -> tuple[bytes, bytes] | None:
        """Head and body of the reply to these bytes; `None` if they must take the long way."""
        asked = self._known[near].get(request)
        if asked is None:
            return None
        began_s = self._clock.now()
        found = self._binance.again(asked, began_s)
        if found is None:
            return None
        shown, now = found
        form = shown.form(asked)
        _, raw = shown.fields(form, now, self._binance.used_weight(asked.market, now), again=True)
        head = b"%b%bx-mdcache-as-of: %d\r\n%b\r\n" % (
            _STATUS[form.unchanged],
            default_fields,
            shown.as_of_ms(now),
            raw,
        )
        self._binance.record_hit(asked, shown, now, began_s)
        return head, shown.body(form)


def whole(data: bytes) -> bool:
    """Whether what arrived may be exactly one GET: begins and ends like one, and nothing else ends within it."""
    return data.startswith(b"GET ") and data.find(_END) == len(data) - len(_END) and len(data) <= _LONGEST


def learnable(request: bytes) -> bool:
    """Whether a `whole` request is HTTP/1.1, has no body, and wants the connection kept."""
    line, _, _ = request.partition(b"\r\n")
    ends = request.count(b"\r\n")
    if request.count(b"\n") != ends or request.count(b"\r") != ends:
        return False  # whatever a parser makes of a lone CR or LF, the patterns below would not see it
    return line.endswith(b" HTTP/1.1") and not _NOT_ALONE.search(_KEEP_ALIVE.sub(b"", request))
