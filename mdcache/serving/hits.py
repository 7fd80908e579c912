"""Serve hits: find the ready answer, check that it is fresh enough, add the used weight, count it.

The ASGI application calls `answer`, the fast lane `reply`; they only write what it returns.
"""

import math

from mdcache.clock import Instant
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.reply import EXPIRED, DefaultHeaders, ReadyReply
from mdcache.serving.binance.representation import Representation
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.binance.used_weights import Stated, UsedWeights, next_reading_ms
from mdcache.serving.ports import HitCounts, Recorder
from mdcache.upstream.governor import Governor

# whether the client's copy is current, the as-of (ms), the other header fields, the body
Hit = tuple[bool, int, HeaderFields, bytes]
_HIT: str = Result.HIT.value  # access to a member costs 0.1 µs
_STATUS_LINES = {False: b"HTTP/1.1 200 OK\r\n", True: b"HTTP/1.1 304 Not Modified\r\n"}


class KnownRequest:
    """A request that may come again, and the reply it had last.

    `counts` counts its hits; `stated`: the used weight stated last.
    """

    __slots__ = ("counts", "reply", "request", "stated")

    def __init__(self, request: ClientRequest, counts: HitCounts, stated: Stated) -> None:
        self.request = request
        self.counts = counts
        self.stated = stated
        self.reply = EXPIRED


class Hits:
    """Answers requests from ready answers. `used_weights`: what they and all other answers state of the usage."""

    def __init__(self, ready_answers: ReadyAnswers, governor: Governor, recorder: Recorder) -> None:
        self._ready_answers = ready_answers
        self.clocks = governor.clocks
        self.used_weights = UsedWeights(governor)
        self._recorder = recorder
        self._defaults: tuple[DefaultHeaders, bytes] = [], b""  # as bytes; uvicorn replaces the list once a second

    def remember(self, request: ClientRequest, representation: Representation, now: Instant) -> None:
        """Offer a fetched answer, which becomes a ready answer if its key was requested before."""
        self._ready_answers.offer(request.key, representation, now)

    def answer(self, request: ClientRequest, began_s: float) -> Hit | None:
        """Return the ready answer to `request` and count it; `None` if none is valid, fresh enough and compressed.

        Args:
            request: The client's request.
            began_s: When the request arrived, by the clock's `now()`.
        """
        found = self._ready_answers.find(request.key, request.directives, began_s)
        if found is None or found[0].takes_long(request):
            return None
        representation, now = found
        market = request.market
        variant = representation.variant(request)
        fields, _ = representation.fields(variant, now, self.used_weights.recent(market, now), from_memory=True)
        age_s = representation.tail_age_s(now)
        self._recorder.record(market.value, request.rule.short_path, _HIT, request.client, began_s, age_s)
        return variant.not_modified, representation.as_of_ms(now), fields, representation.body(variant)

    def know(self, request: ClientRequest) -> KnownRequest:
        """Return what `reply` takes for requests like this."""
        market = request.market
        counts = self._recorder.hit_counts(market.value, request.rule.short_path, request.client)
        return KnownRequest(request, counts, self.used_weights.stated(market))

    def reply(
        self, known: KnownRequest, began_s: float, default_headers: DefaultHeaders, *, cors: bool
    ) -> ReadyReply | None:
        """Return the answer to a request as a whole reply, which may be sent again while it is true; count it.

        Args:
            known: The client's request.
            began_s: When the request arrived, by the clock's `now()`.
            default_headers: The header fields of all responses.
            cors: Whether answers depend on `Origin`.
        """
        request = known.request
        found = self._ready_answers.find(request.key, request.directives, began_s)
        if found is None or found[0].takes_long(request):
            return None
        representation, now = found
        answer, market = representation.answer, representation.market
        variant = representation.variant(request)
        as_of_ms, age_s = representation.as_of_ms(now), representation.tail_age_s(now)
        reply = representation.reply(variant, request.client)
        reply.stated = known.stated
        reply.used_weight = self.used_weights.reread(known.stated, market, now)
        _, fields = representation.fields(variant, now, reply.used_weight, from_memory=True)
        if cors:
            fields = fields.replace(b"\r\nvary: ", b"\r\nvary: Origin, ", 1)
        if self._defaults[0] is not default_headers:
            self._defaults = default_headers, b"".join(b"%b: %b\r\n" % pair for pair in default_headers)
        status_line = _STATUS_LINES[variant.not_modified]
        before = b"%b%bx-mdcache-as-of: " % (status_line, self._defaults[1])
        reply.set(before, as_of_ms, b"\r\n%b\r\n" % fields, representation.body(variant))
        reply.restated_s = self.clocks.reaches_s(market, now.ms + 1) if answer.settled else math.inf
        reply.tally, same_age_s = known.counts.tally(age_s)
        changes_ms = _changes_ms(now.ms, as_of_ms, age_s, same_age_s)
        changes_ms = min(changes_ms, answer.valid_until_ms - now.error_ms + 1)
        reply.until_s = min(self.clocks.reaches_s(market, changes_ms), int(began_s) + 1.0)
        reply.as_of_s = began_s - (age_s or 0.0)
        reply.is_current = answer.is_current
        reply.corrections, reply.default_headers = self.clocks.corrections, default_headers
        known.counts.record(began_s, age_s)
        return reply

    def restate(self, reply: ReadyReply) -> None:
        """State in a reply of settled rows that it is as of now."""
        now = self.clocks.now(reply.market)
        reply.restate(now.ms)
        reply.restated_s = self.clocks.reaches_s(reply.market, now.ms + 1)


def _changes_ms(now_ms: int, as_of_ms: int, age_s: float | None, same_age_s: float) -> float:
    """Return when an answer's age, the age it is counted under, or the used weight may change."""
    if age_s is None:
        return next_reading_ms(now_ms)
    return min(as_of_ms + (int(age_s) + 1) * 1000, as_of_ms + same_age_s * 1000, next_reading_ms(now_ms))
