"""The results of clients' requests, and the only definition of the hit ratio and the shares beside it. Pure.

Rule: docs/design.md#metrics.
"""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Half are at most `p50`, and 99 of a hundred at most `p99`: ends of a histogram's buckets, in seconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class RecentAnswers:
    """The last minutes' requests.

    `by_second`: how many by result in each whole second, the newest last; results that none had are left out.
    `seconds`: how long those of the last sixty seconds took, by result and of `all`. `tail_ages`: how old the tails
    were that they showed, by market.
    """

    by_second: dict[str, list[int]]
    seconds: dict[str, Quantiles]
    tail_ages: dict[str, Quantiles]


def shares(counts: Mapping[str, int]) -> Shares:
    """Return the shares in these counts of requests by result."""
    requests = sum(counts.values())
    questions = requests - _sum(counts, NOT_COUNTED)

    def part(results: tuple[Result, ...]) -> float | None:
        return round(_sum(counts, results) / questions, 6) if questions else None

    return Shares(requests, questions, part(HITS), part(MARKED), part(FAILED))


STEP_S = 5


@dataclass(frozen=True, slots=True)
class ShareSteps:
    """The marked and the failed share of questions in steps of `seconds`, the newest last; `None` without any."""

    seconds: int
    marked: list[float | None]
    failed: list[float | None]


def shares_by_step(by_second: Mapping[str, Sequence[int]]) -> ShareSteps:
    """Return the shares in the seconds of these requests by result, in steps."""
    length = max(map(len, by_second.values()), default=0)
    found = [
        shares({result: sum(counts[at : at + STEP_S]) for result, counts in by_second.items()})
        for at in range(0, length, STEP_S)
    ]
    return ShareSteps(STEP_S, [each.marked for each in found], [each.failed for each in found])


def read_failed(status: int, fault: str) -> bool:
    """Return whether a read of Binance failed: no reply (status 0), a refusal to answer, a 5xx, an unreadable body.

    Any other 4xx answers a wrong question, and is passed on.
    """
    if status == HTTPStatus.OK:
        return bool(fault)
    return status in _REFUSALS or not _CLIENT_ERRORS[0] <= status < _CLIENT_ERRORS[1]


def _sum(counts: Mapping[str, int], results: tuple[Result, ...]) -> int:
    return sum(counts.get(result, 0) for result in results)
