"""What replies state about when to ask again: lengths, moments, and by which clock."""

import time

import pytest

from mdcache.clock import Instant
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.stated_wait import date_ms, reference_time, stated_wait_ms

NOW_MS = 1_790_771_371_000
DATE = "Wed, 30 Sep 2026 12:29:31 GMT"
KNOWN = Instant(NOW_MS, 40)
UNKNOWN = Instant(NOW_MS - 3_600_000, 60_000)  # a wall clock an hour behind
IN_30_S = b"IP banned until %d." % (NOW_MS + 30_000)


def reply(*retry_after: str, date: str | None = None) -> ReplyHead:
    headers = tuple(("retry-after", value) for value in retry_after)
    return ReplyHead(418, headers if date is None else (*headers, ("date", date)))


@pytest.mark.parametrize(
    ("retry_after", "body", "expected"),
    [
        (["10"], b"", 10_000),
        ([" 10 "], b"", 10_000),
        (["1.25"], b"", 1_250),
        (["10", "25"], b"", 25_000),
        (["10"], IN_30_S, 30_040),
        (["60"], IN_30_S, 60_000),
        (["x"], IN_30_S, 30_040),
        ([], b"banned until %d" % (NOW_MS // 1000 + 30), 30_040),
        ([], b"Banned until %d" % (NOW_MS * 1000 + 30_000_000), 30_040),
        ([], b"banned until 1600000000000.", None),
        (["Wed, 30 Sep 2026 12:41:31 GMT"], b"", 720_040),
        (["Wed Sep 30 12:41:31 2026"], b"", 720_040),
        (["Wed, 30 Sep 2026 12:41:31 GMT", "10"], IN_30_S, 720_040),
        (["Wed, 30 Sep 2020 12:41:31 GMT"], b"", None),
        (["0"], b"", None),
        (["-10"], b"", None),
        (["9" * 5_000], b"", None),
        ([], b"", None),
    ],
)
def test_the_latest_of_all_that_is_stated_counts(retry_after: list[str], body: bytes, expected: int | None) -> None:
    assert stated_wait_ms(reply(*retry_after), body, KNOWN) == expected


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (reply("14"), IN_30_S, 14_000),
        (reply("14", date=DATE), IN_30_S, 30_000),
        (reply(date=DATE), IN_30_S, 30_000),
        (reply("Wed, 30 Sep 2026 12:29:45 GMT", date=DATE), b"", 14_000),
        (reply(), IN_30_S, 3_600_000 + 30_000 + 60_000),
    ],
)
def test_lengths_count_while_the_clock_is_unknown(head: ReplyHead, body: bytes, expected: int) -> None:
    assert stated_wait_ms(head, body, reference_time(head, UNKNOWN)) == expected


def test_a_measured_clock_counts_for_more_than_a_date() -> None:
    head = reply(date="Wed, 30 Sep 2026 12:00:00 GMT")
    assert stated_wait_ms(head, IN_30_S, reference_time(head, KNOWN)) == 30_040


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (DATE, NOW_MS),
        ("Wednesday, 30-Sep-26 12:29:31 GMT", NOW_MS),
        ("Wed Sep 30 12:29:31 2026", NOW_MS),
        ("", None),
        ("soon", None),
        ("Wed, 99 Sep 2026 12:29:31 GMT", None),
        ("Wed, 30 Sep 99999999 12:29:31 GMT", None),
    ],
)
def test_dates(value: str, expected: int | None) -> None:
    assert date_ms(ReplyHead(200, (("date", value),))) == expected
    assert date_ms(ReplyHead(200, ())) is None


def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert date_ms(ReplyHead(200, (("date", "Wed Sep 30 12:29:32 2026"),))) == NOW_MS + 1_000
    time.tzset()
