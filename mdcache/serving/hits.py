"""Serve hits: find the ready answer, check that it is fresh enough, add the used weight, count it.

The ASGI application calls `answer`, the fast lane `reply`; they only write what it returns.
"""

from mdcache.clock import Instant
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields, Variant
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.reply import DefaultHeaders, Reply
from mdcache.serving.binance.representation import Representation
from mdcache.serving.binance.request import ClientRequest
from mdcache.serving.binance.used_weights import UsedWeights, next_reading_ms
from mdcache.serving.ports import Recorder
from mdcache.upstream.governor import Governor

# whether the client's copy is current, the as-of (ms), the other header fields, the body
Hit = tuple[bool, int, HeaderFields, bytes]
_Found = tuple[Representation, Variant, Instant, int | None]  # … its variant, now, and the used weight to state
_HIT: str = Result.HIT.value  # access to a member costs 0.1 µs
_STATUS_LINES = {False: b"HTTP/1.1 200 OK\r\n", True: b"HTTP/1.1 304 Not Modified\r\n"}


class Hits:
    """Answers requests from ready answers. `used_weights`: what they and all other answers state of the usage."""

    def __init__(self, ready_answers: ReadyAnswers, governor: Governor, recorder: Recorder) -> None:
        self._ready_answers = ready_answers
        self.clocks = governor.clocks
        self.used_weights = UsedWeights(governor)
        self._recorder = recorder

    def remember(self, request: ClientRequest, representation: Representation, now: Instant) -> None:
        """Offer a fetched answer, which becomes a ready answer if its key was requested before."""
        self._ready_answers.offer(request.key, representation, now)

    def answer(self, request: ClientRequest, began_s: float) -> Hit | None:
        """Return the ready answer to `request` and count it; `None` if none is valid and fresh enough.

        Args:
            request: The client's request.
            began_s: When the request arrived, by the clock's `now()`.
        """
        found = self._find(request, began_s)
        if found is None:
            return None
        representation, variant, now, used_weight = found
        age_s = representation.tail_age_s(now)
        self._recorder.record(request.market.value, request.rule.short_path, _HIT, request.client, began_s, age_s)
        fields, _ = representation.fields(variant, now, used_weight, from_memory=True)
        return variant.not_modified, representation.as_of_ms(now), fields, representation.body(variant)

    def reply(
        self, request: ClientRequest, began_s: float, default_headers: DefaultHeaders, *, cors: bool
    ) -> Reply | None:
        """Return the same as a whole reply, which may be sent again while it is true.

        Args:
            request: The client's request.
            began_s: When the request arrived, by the clock's `now()`.
            default_headers: The header fields of all responses.
            cors: Whether answers depend on `Origin`.
        """
        found = self._find(request, began_s)
        if found is None:
            return None
        representation, variant, now, used_weight = found
        answer, market = representation.answer, representation.market
        as_of_ms = representation.as_of_ms(now)
        age_s = representation.tail_age_s(now)
        labels = market.value, request.rule.short_path, request.client
        reply = representation.reply(variant, request.client)
        reply.tally, same_age_s = self._recorder.hit_tally(*labels, age_s)
        _, fields = representation.fields(variant, now, used_weight, from_memory=True)
        if cors:
            fields = fields.replace(b"\r\nvary: ", b"\r\nvary: Origin, ", 1)
        defaults = b"".join(b"%b: %b\r\n" % pair for pair in default_headers)
        status_line = _STATUS_LINES[variant.not_modified]
        head = b"%b%bx-mdcache-as-of: %d\r\n%b\r\n" % (status_line, defaults, as_of_ms, fields)
        reply.set(head, representation.body(variant))
        changes_ms = answer.valid_until_ms - now.error_ms + 1, *_changes_ms(now.ms, as_of_ms, age_s, same_age_s)
        reply.until_s = min(self.clocks.reaches_s(market, min(changes_ms)), int(began_s) + 1.0)
        reply.as_of_s = min(self.clocks.reaches_s(market, as_of_ms), began_s)
        reply.is_current = answer.is_current
        reply.stated, reply.used_weight = self.used_weights.stated(market), used_weight
        reply.corrections, reply.default_headers = self.clocks.corrections, default_headers
        self._recorder.record(*labels[:2], _HIT, labels[2], began_s, age_s)
        return reply

    def _find(self, request: ClientRequest, began_s: float) -> _Found | None:
        found = self._ready_answers.find(request.key, request.directives, began_s)
        if found is None:
            return None
        representation, now = found
        return representation, representation.variant(request), now, self.used_weights.recent(request.market, now)


def _changes_ms(now_ms: int, as_of_ms: int, age_s: float | None, same_age_s: float) -> tuple[float, ...]:
    """Return when an answer's as-of, its age, the age it is counted under, and the used weight may change."""
    if age_s is None:
        return (now_ms + 1,)
    return as_of_ms + (int(age_s) + 1) * 1000, as_of_ms + same_age_s * 1000, next_reading_ms(now_ms)
