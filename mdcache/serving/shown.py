"""One answer in a form that can be sent again and again: tag, compressed body, and headers made once a second."""

from isal import igzip
from xxhash import xxh3_128_hexdigest

from mdcache.cache.answers import Answer
from mdcache.clock import Instant
from mdcache.exchange.markets import Market
from mdcache.serving.asked import Asked
from mdcache.serving.headers import CONTENT_TYPE, GZIP_SUFFIX, Fields, Form, fields

_COMPRESS_FROM = 1_024  # below it a body fits one packet with its headers anyway
_LEVEL = 1  # 0.15 ms for 500 rows; level 2 gains 3 % for twice that
_FORMS = 4  # identity or gzip, whole or unchanged
_OVERHEAD = 1_200  # bytes of the object, its key and its headers, measured with tracemalloc


class Shown:
    """An answer that may be shown more than once, while it stands."""

    __slots__ = ("_fields", "_forms", "_gzipped", "answer", "asked_at_s", "market", "tag")

    def __init__(self, answer: Answer, market: Market) -> None:
        self.answer = answer
        self.market = market
        self.tag = xxh3_128_hexdigest(answer.body).encode()
        self.asked_at_s = float("-inf")
        self._gzipped: bytes | None = None
        self._forms: list[Form | None] = [None] * _FORMS
        self._fields: list[tuple[int, int | None, Fields, bytes] | None] = [None] * _FORMS

    @property
    def nbytes(self) -> int:
        """What it takes: bodies, and what is around them."""
        return len(self.answer.body) + len(self._gzipped or b"") + _OVERHEAD

    def form(self, asked: Asked) -> Form:
        """The form `asked` gets: gzip where it is asked for and worth it, unchanged where its tag matches."""
        gzip = asked.gzip and len(self.answer.body) > _COMPRESS_FROM
        own, other = (True, False) if gzip else (False, True)
        if asked.any_tag or (asked.tags and self._tag(gzip=own) in asked.tags):
            return self._form(own, unchanged=True)
        if asked.tags and self._tag(gzip=other) in asked.tags:
            return self._form(other, unchanged=True)  # the tag of what the client holds, not of what it asks for
        return self._form(own, unchanged=False)

    def body(self, form: Form) -> bytes:
        """The bytes of `form`; compressed at the first asking."""
        if form.unchanged:
            return b""
        return self._gzip() if form.gzip else self.answer.body

    def compress(self) -> None:
        """Make the compressed body now; may be called in a thread, before anybody else has this."""
        self._gzip()

    def as_of_ms(self, now: Instant) -> int:
        """Settled rows are as of now whenever they are shown; everything else has its tail's as-of."""
        return now.ms if self.answer.settled else self.answer.as_of_ms

    def fields(self, form: Form, now: Instant, used_weight: int | None, *, again: bool) -> tuple[Fields, bytes]:
        """Headers but for the as-of, as pairs and as bytes; made anew when age or usage changed."""
        age_s = 0 if self.answer.settled else max(0, now.ms - self.answer.as_of_ms) // 1000
        if not again:
            return fields(self.answer, form, age_s, used_weight, again=False), b""
        made = self._fields[form.index]
        if made is None or made[0] != age_s or made[1] != used_weight:
            pairs = fields(self.answer, form, age_s, used_weight, again=True)
            raw = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
            made = self._fields[form.index] = (age_s, used_weight, pairs, raw)
        return made[2], made[3]

    def _form(self, gzip: bool, *, unchanged: bool) -> Form:  # noqa: FBT001 - a coding, as everywhere here
        index = 2 * gzip + unchanged
        form = self._forms[index]
        if form is None:
            length = 0 if unchanged else len(self._gzip() if gzip else self.answer.body)
            form = Form(index, CONTENT_TYPE[self.market], length, self._tag(gzip=gzip), gzip, unchanged)
            self._forms[index] = form
        return form

    def _tag(self, *, gzip: bool) -> bytes:
        return self.tag + GZIP_SUFFIX if gzip else self.tag

    def _gzip(self) -> bytes:
        if self._gzipped is None:
            # no time in its header: the same content has the same bytes on every replica
            self._gzipped = igzip.compress(self.answer.body, _LEVEL, mtime=0)
        return self._gzipped
