"""What an answer of the native API says of itself: how old it is, and how it was obtained."""

from collections.abc import Sequence

from mdcache.cache.answers import CacheStatus
from mdcache.results import Result
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.native.row_reads import FoundRows

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
