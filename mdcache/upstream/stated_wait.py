"""Parse when a reply says to ask again, in all its forms. Pure; `backoff` decides how long to wait.

Rule: docs/design.md#stated-pauses.
"""

import email.utils
import math
import re
from datetime import UTC
from functools import lru_cache

from mdcache.clock import Instant
from mdcache.exchange.rate_limits import banned_until_ms
from mdcache.upstream.reply_head import ReplyHead

KNOWN_CLOCK_MS = 10_000  # a clock with a larger error is not used to measure how far away a moment is
_SECONDS = re.compile(r"\d{1,18}(\.\d{1,9})?")


def reference_time(head: ReplyHead, utc: Instant) -> Instant:
    """Return the time from which the reply's moments are measured: ours, or its own `Date` while ours is unknown."""
    stated_ms = date_ms(head)
    return utc if utc.error_ms <= KNOWN_CLOCK_MS or stated_ms is None else Instant(stated_ms, 0)


def stated_wait_ms(head: ReplyHead, body: bytes, at: Instant) -> int | None:
    """Return the longest wait that a reply states, by `Retry-After` or by "banned until"; `None` if it states none.

    `at`: its `reference_time`. A moment is waited for with the clock's error added. If even that time is unknown, only
    lengths count where there is one.
    """
    lengths_ms, moments_ms = [], [] if (until_ms := banned_until_ms(body)) is None else [until_ms]
    for value in head.all("retry-after"):
        if _SECONDS.fullmatch(value.strip()):
            lengths_ms.append(math.ceil(float(value) * 1000))
        elif (moment_ms := http_date_ms(value)) is not None:
            moments_ms.append(moment_ms)
    waits_ms = [length_ms for length_ms in lengths_ms if length_ms > 0]
    if at.error_ms <= KNOWN_CLOCK_MS or not waits_ms:
        waits_ms += [moment_ms - at.ms + at.error_ms for moment_ms in moments_ms if moment_ms > at.ms]
    return max(waits_ms, default=None)


def date_ms(head: ReplyHead) -> int | None:
    """Return the reply's `Date`; `None` if it has none that can be parsed."""
    value = head.header("date")
    return None if value is None else http_date_ms(value)


@lru_cache(maxsize=64)  # it is asked for several times a reply, and changes each second
def http_date_ms(value: str) -> int | None:
    """Return an HTTP date in milliseconds; `None` if it can't be parsed."""
    try:
        parsed = email.utils.parsedate_to_datetime(value)
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError, TypeError):  # a year 0, 10000 or 10**400; a time zone without a date
        return None
