"""The results of clients' requests, and the only definition of the hit ratio and the shares beside it. Pure.

Rule: docs/design.md#metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class Result(StrEnum):
    """How a request was answered: a metrics label."""

    HIT = "hit"
    MISS = "miss"
    PARTIAL = "partial"
    COLLAPSED = "collapsed"
    STALE = "stale"
    REFUSED = "refused"
    ERROR = "error"


MEANINGS: Mapping[Result, str] = {
    Result.HIT: "fresh, from what was known",
    Result.MISS: "read from Binance for this request",
    Result.PARTIAL: "partly known, the rest read from Binance",
    Result.COLLAPSED: "from a read that another request had begun",
    Result.STALE: "marked: past its TTL, Binance could not be asked",
    Result.REFUSED: "a 4xx for the request itself, or 504 for only-if-cached",
    Result.ERROR: "502 or 503: Binance failed, or could not be asked",
}
HITS = (Result.HIT, Result.COLLAPSED)  # no read of their own
MARKED = (Result.STALE,)
FAILED = (Result.ERROR,)
NOT_COUNTED = (Result.REFUSED,)  # no cache could have answered them
_REFUSALS = (403, 408, 418, 429, 451)  # docs/binance.md#refusals
_CLIENT_ERRORS = (400, 500)


@dataclass(frozen=True, slots=True)
class Shares:
    """What became of clients' questions: all requests but the refused ones.

    `hit_ratio`: those that cost no read of their own. `marked`: those answered with old data, marked so. `failed`:
    those that got an error. The rest were read from Binance. Each is a share of `questions`, `None` without any.
    """

    requests: int
    questions: int
    hit_ratio: float | None
    marked: float | None
    failed: float | None


def shares(counts: Mapping[str, int]) -> Shares:
    """Return the shares in these counts of requests by result."""
    requests = sum(counts.values())
    questions = requests - _sum(counts, NOT_COUNTED)

    def part(results: tuple[Result, ...]) -> float | None:
        return round(_sum(counts, results) / questions, 6) if questions else None

    return Shares(requests, questions, part(HITS), part(MARKED), part(FAILED))


def read_failed(status: int, fault: str) -> bool:
    """Return whether a read of Binance failed: no reply (status 0), a refusal to answer, a 5xx, an unreadable body.

    Any other 4xx answers a wrong question, and is passed on.
    """
    if status == HTTPStatus.OK:
        return bool(fault)
    return status in _REFUSALS or not _CLIENT_ERRORS[0] <= status < _CLIENT_ERRORS[1]


def _sum(counts: Mapping[str, int], results: tuple[Result, ...]) -> int:
    return sum(counts.get(result, 0) for result in results)
