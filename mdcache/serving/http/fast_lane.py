"""The fast lane: requests whose exact bytes are known from an earlier hit skip HTTP parsing and ASGI.

It stores the bytes of a request that was a hit; later, the same bytes mean the same `ClientRequest`. The reply it had
is sent again for as long as the same would be made anew (docs/design.md#ready-replies), and else made anew.
"""

import asyncio
import re
from collections import OrderedDict

from mdcache.clock import Clock
from mdcache.serving.binance.reply import EXPIRED, DefaultHeaders, ReadyReply
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.client_limits import ClientLimits
from mdcache.serving.hits import Hits, KnownRequest

RAW_REQUEST_EXTENSION = "mdcache.request"  # ASGI extension of our server: the exact bytes of the request
_MAX_REQUESTS = 32_768  # stored by their bytes: as many as there are ready answers, if they are short enough
_MAX_BYTES = 20_000_000  # of them all
_ENTRY_BYTES = 400  # of each, beside its bytes; measured with tracemalloc
_MAX_REQUEST_BYTES = 2_048
_MAX_TAGS = 8  # a polling client sends the tag it has
_HEADER_END = b"\r\n\r\n"
# Headers that announce more than this one message: a body, `100-continue`, another protocol, a close. Harmless is what
# says that there is none, and the offer of HTTP/2 that Java's HttpClient and `curl --http2` repeat with each request.
# Possessive (`*+`): tried in one way only, or two kilobytes of spaces would take a tenth of a second.
_UNSUPPORTED_HEADERS = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|expect|upgrade|connection)[ \t]*:", re.IGNORECASE
)
_HARMLESS_HEADERS = re.compile(
    rb"\r\n(?:connection:[ \t]*+(?:(?:keep-alive|upgrade|http2-settings)(?:,[ \t]*+)?+)++"
    rb"|upgrade:[ \t]*+h2c|content-length:[ \t]*+0)[ \t]*+(?=\r\n)",
    re.IGNORECASE,
)
# Programs with a key of an account send it with questions of public data too.
_SECRETS = re.compile(rb"\r\n(?:x-mbx-apikey|(?:proxy-)?authorization|cookie)[ \t]*:", re.IGNORECASE)
_SECRETS_KEPT_S = 600.0
_ORIGIN = re.compile(rb"\r\norigin[ \t]*:", re.IGNORECASE)


class FastLane:
    """The requests stored by their bytes, of peers on this machine or of all others.

    `limits`: of clients. `cors`: answers depend on `Origin`; requests that have one are not learnt.
    """

    def __init__(self, hits: Hits, clock: Clock, limits: ClientLimits, *, cors: bool = False) -> None:
        self._hits = hits
        self._now = clock.now
        self._clocks = hits.clocks
        self._cors = cors
        self._limits = limits
        self._nbytes = 0
        self._requests: OrderedDict[bytes, KnownRequest] = OrderedDict()
        self._secrets: dict[bytes, None] = {}  # those with a secret of their client
        self._secrets_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._requests)

    def learn(self, raw: bytes, client_request: ClientRequest) -> None:
        """Store the parsed request of `raw`."""
        known = self._requests
        if self._cors and _ORIGIN.search(raw):
            return
        if raw not in known and len(client_request.tags) <= _MAX_TAGS and is_repeatable(raw):
            known[raw] = self._hits.know(client_request)
            self._nbytes += len(raw) + _ENTRY_BYTES
            if _SECRETS.search(raw):
                self._secrets[raw] = None
                self._secrets_timer = self._secrets_timer or asyncio.get_running_loop().call_later(
                    _SECRETS_KEPT_S, self._forget_secrets
                )
            while len(known) > _MAX_REQUESTS or self._nbytes > _MAX_BYTES:
                dropped, _ = known.popitem(last=False)
                self._nbytes -= len(dropped) + _ENTRY_BYTES
                self._secrets.pop(dropped, None)

    def forget(self) -> None:
        """Drop all: what a request means has changed."""
        self._requests.clear()
        self._secrets.clear()
        self._nbytes = 0

    def _forget_secrets(self) -> None:
        """Drop all requests with secrets; those that come again are learnt again."""
        self._secrets_timer = None
        for raw in self._secrets:
            del self._requests[raw]
            self._nbytes -= len(raw) + _ENTRY_BYTES
        self._secrets.clear()

    def answer(
        self, raw: bytes, default_headers: DefaultHeaders, peer: tuple[str, int] | None = None
    ) -> ReadyReply | None:
        """Return the reply to these bytes of `peer`, which counts as sent; `None` if they must be parsed."""
        known = self._requests.get(raw)
        if known is None:
            return None
        limits = self._limits
        if limits.on and limits.wait_s(peer[0] if peer else "", known.request.client):
            return None
        now_s = self._now()
        reply = known.reply
        if (
            now_s < reply.until_s
            and reply.default_headers is default_headers
            and reply.used_weight == reply.stated.weight
            and reply.corrections == self._clocks.corrections
            and reply.is_current()
        ):
            if now_s >= reply.restated_s:
                self._hits.restate(reply)
            tally = reply.tally
            tally.count += 1
            tally.age_s += now_s - reply.as_of_s
            return reply
        renewed = self._hits.reply(known, now_s, default_headers, cors=self._cors)
        if known.request.directives is None:  # others must be checked each time
            known.reply = renewed or EXPIRED
        if limits.on and renewed is None:
            limits.give_back(peer[0] if peer else "", known.request.client)
        return renewed


def is_single_get(data: bytes) -> bool:
    """Return whether `data` may be exactly one GET: it begins and ends like one, and no request ends within it."""
    return (
        data.startswith(b"GET ")
        and data.find(_HEADER_END) == len(data) - len(_HEADER_END)
        and len(data) <= _MAX_REQUEST_BYTES
    )


def is_repeatable(raw: bytes) -> bool:
    """Return whether a single GET is HTTP/1.1, has no body, and keeps the connection open."""
    line, _, _ = raw.partition(b"\r\n")
    ends = raw.count(b"\r\n")
    if raw.count(b"\n") != ends or raw.count(b"\r") != ends:
        return False  # parsers may accept a lone CR or LF as a line end, which the patterns below would miss
    return line.endswith(b" HTTP/1.1") and not _UNSUPPORTED_HEADERS.search(_HARMLESS_HEADERS.sub(b"", raw))
