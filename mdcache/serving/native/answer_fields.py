"""What an answer of the native API says of itself: how old it is, and how it was obtained."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from mdcache.cache.answers import CacheStatus
from mdcache.errors import MdcacheError, UpstreamUnavailable
from mdcache.exchange.klines import SeriesKey
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.errors import error_response, retry_after_seconds
from mdcache.serving.native.found_rows import FoundRows, name_series

Shown = tuple[SeriesKey, FoundRows | MdcacheError]
_MAX_TOLD = 30  # series in a header, which clients bound
_FIELDS = ((b"vary", b"Accept, Accept-Encoding, X-MDCache-Min-As-Of"), (b"cache-control", b"no-store"))


def summary(found: Sequence[FoundRows], now_ms: int) -> tuple[HeaderFields, Result, float | None]:
    """Return how old the answer is, of its oldest series, and how it was obtained: header fields and metrics."""
    if not found:
        return (), Result.ERROR, None
    as_of_ms = min(each.as_of_ms for each in found)
    age_ms = max(0, now_ms - as_of_ms)
    status = next((each.status for each in found if each.status is not CacheStatus.HIT), CacheStatus.HIT)
    said, result = b"fwd=%b; fwd-status=200; stored" % status.value.encode(), Result.MISS
    if any(each.stale for each in found):
        said, result = b"hit; ttl=-%d; detail=stale" % max(1, age_ms // 1000), Result.STALE
    elif status is CacheStatus.HIT:
        said, result = b"hit", Result.HIT
    elif status is CacheStatus.PARTIAL:
        result = Result.PARTIAL
    fields = (
        (b"cache-status", b"mdcache; " + said),
        (b"age", b"%d" % (age_ms // 1000)),
        (b"x-mdcache-as-of", b"%d" % as_of_ms),
        (b"x-mdcache-now", b"%d" % now_ms),
        *_FIELDS,
    )
    return fields, result, None if all(each.settled for each in found) else age_ms / 1000


def describe_series(key: SeriesKey, found: FoundRows | MdcacheError) -> bytes:
    """Return what an answer says of a series beside its rows."""
    if isinstance(found, MdcacheError):
        return name_series(key) + b'"error":%b}' % msgspec.json.encode(describe_error(found))
    named = name_series(key) if found.kept is None else found.kept.named
    stale = b"true" if found.stale else b"false"
    return named + b'"as_of":%d,"stale":%b,"etag":"%b"}' % (found.as_of_ms, stale, found.tag)


def describe_error(error: MdcacheError) -> dict[str, object]:
    """Return an error as answers show it in the place of a series."""
    shown: dict[str, object] = msgspec.json.decode(error_response(error).body)
    if isinstance(error, UpstreamUnavailable):
        shown["retry_after"] = retry_after_seconds(error.retry_after_s)
    return shown


def left_out(shown: Sequence[Shown]) -> HeaderFields:
    """Return the field that names the series which a table lacks: a list of structured fields (RFC 9651)."""
    told = [
        f'"{quote(key.subject)}/{key.interval}";code={describe_error(found)["code"]}'
        for key, found in shown
        if isinstance(found, MdcacheError)
    ]
    if len(told) > _MAX_TOLD:
        told = [*told[:_MAX_TOLD], f"more;count={len(told) - _MAX_TOLD}"]
    return ((b"x-mdcache-left-out", ", ".join(told).encode()),) if told else ()
