"""The response headers of an answer (docs/design.md#headers), except its as-of, which is added when it is sent.

The headers of each of an answer's four variants (identity or gzip, complete or 304) are built at most once a second.
"""

from dataclasses import dataclass

from mdcache.cache.answers import Answer, CacheStatus
from mdcache.exchange.markets import Market

HeaderFields = tuple[tuple[bytes, bytes], ...]

CONTENT_TYPE = {  # as captured: docs/binance.md#response-headers
    Market.SPOT: b"application/json;charset=UTF-8",
    Market.USDM: b"application/json",
    Market.COINM: b"application/json",
}
_VARY = {  # every request header that changes an answer; `app.py` adds Origin where pages may read answers
    Market.SPOT: (b"vary", b"Accept, Accept-Encoding, X-MBX-TIME-UNIT, X-MDCache-Min-As-Of"),
    Market.USDM: (b"vary", b"Accept-Encoding, X-MDCache-Min-As-Of"),
    Market.COINM: (b"vary", b"Accept-Encoding, X-MDCache-Min-As-Of"),
}
GZIP_SUFFIX = b"-gzip"
_IMMUTABLE = b", immutable"
_NEVER_STALE = b", must-revalidate, stale-while-revalidate=0"  # of the two, Varnish knows only the second


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of an answer: `length` of its body, `tag` with the coding's suffix, without quotes.

    `index`: of the four variants.
    """

    index: int
    market: Market
    length: int
    tag: bytes
    gzip: bool
    not_modified: bool


def freshness_lifetime_s(answer: Answer) -> int:
    """Return whole seconds from the as-of: the TTL, or less if a close comes first (RFC 9111, 4.2.1)."""
    if answer.settled or answer.stale:
        return int(answer.lifetime_s)
    return max(0, min(int(answer.lifetime_s * 1000), answer.valid_until_ms - answer.as_of_ms) // 1000)


def answer_fields(
    answer: Answer, variant: Variant, age_s: int, used_weight: int | None, *, from_memory: bool
) -> HeaderFields:
    """Return all header fields but `X-MDCache-As-Of`; an answer from memory is a hit, however it was fetched."""
    lifetime = freshness_lifetime_s(answer)
    made = [
        (b"cache-status", _cache_status(answer, lifetime - age_s, from_memory=from_memory)),
        (b"age", b"%d" % age_s),
        (b"cache-control", b"max-age=%d%b" % (lifetime, _IMMUTABLE if answer.immutable else _NEVER_STALE)),
        (b"etag", b'"%b"' % variant.tag),
        _VARY[variant.market],
    ]
    if not answer.immutable:  # of nginx, which ignores Age, and counts to the end of the last second
        made.append((b"x-accel-expires", b"%d" % max(0, lifetime - age_s - 1)))
    if used_weight is not None:
        made.append((b"x-mbx-used-weight-1m", b"%d" % used_weight))
    if not variant.not_modified:
        if variant.gzip:
            made.append((b"content-encoding", b"gzip"))
        made.append((b"content-type", CONTENT_TYPE[variant.market]))
        made.append((b"content-length", b"%d" % variant.length))
    return tuple(made)


def _cache_status(answer: Answer, ttl_s: int, *, from_memory: bool) -> bytes:
    """Return `hit`, or why Binance was asked (RFC 9211); `detail=stale` marks an answer past its TTL.

    `detail=derived`: its open candle was derived from a shorter series.
    """
    if answer.stale:
        return b"mdcache; hit; ttl=%d; detail=stale" % min(-1, ttl_s)
    derived = b"; detail=derived" if answer.derived else b""
    if from_memory or answer.cache_status is CacheStatus.HIT:
        return b"mdcache; hit; ttl=%d%b" % (ttl_s, derived)
    collapsed = b"; collapsed" if answer.collapsed else b""
    how = answer.cache_status.value.encode()
    return b"mdcache; fwd=%b; fwd-status=200; stored%b; ttl=%d%b" % (how, collapsed, ttl_s, derived)
