"""The hit ratio and the shares beside it, and which reads failed."""

import pytest

from mdcache.results import FAILED, HITS, MARKED, MEANINGS, NOT_COUNTED, Result, read_failed, shares


def test_the_shares_of_a_normal_minute() -> None:
    found = shares({"hit": 80, "collapsed": 5, "partial": 5, "miss": 8, "stale": 1, "error": 1, "refused": 50})
    assert (found.requests, found.questions) == (150, 100)
    assert (found.hit_ratio, found.marked, found.failed) == (0.85, 0.01, 0.01)


def test_a_ban_is_no_hundred_percent() -> None:
    found = shares({"stale": 90, "error": 10})
    assert (found.hit_ratio, found.marked, found.failed) == (0.0, 0.9, 0.1)


@pytest.mark.parametrize("counts", [{}, {"refused": 7}, dict.fromkeys(Result, 0)])
def test_without_questions_there_is_no_ratio(counts: dict[str, int]) -> None:
    found = shares(counts)
    assert found.questions == 0
    assert found.hit_ratio is found.marked is found.failed is None


def test_every_result_has_a_meaning_and_at_most_one_share() -> None:
    assert set(MEANINGS) == set(Result)
    groups = [*HITS, *MARKED, *FAILED, *NOT_COUNTED]
    assert len(groups) == len(set(groups))
    assert set(Result) - set(groups) == {Result.MISS, Result.PARTIAL}  # what was read from Binance


@pytest.mark.parametrize(
    ("status", "fault", "failed"),
    [
        (200, "", False),
        (200, "encoding", True),
        (0, "timeout", True),
        (0, "", True),
        *((status, "", False) for status in (400, 401, 404, 406)),
        *((status, "", True) for status in (403, 408, 418, 429, 451, 500, 502, 503, 302)),
    ],
)
def test_a_wrong_question_is_no_failed_read(status: int, fault: str, failed: bool) -> None:
    assert read_failed(status, fault) is failed
