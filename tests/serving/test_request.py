"""What request headers say (RFC 9111, 9110, docs/design.md#headers); anything malformed counts as unsaid."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.serving.binance.request import (
    RequestParser,
    accepts_gzip,
    accepts_only_sbe,
    is_loopback,
    parse_directives,
    parse_if_none_match,
)
from mdcache.upstream.priority import Lane

SPOT, USDM = KLINE_ENDPOINTS["/api/v3/klines"], KLINE_ENDPOINTS["/fapi/v1/klines"]
READER = RequestParser({"engine": "high", "ai": "normal", "backfill": "low"}, "auto")


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        ("", None),
        ("max-age=5", FreshnessDirectives(max_age_s=5)),
        ("max-age=0", FreshnessDirectives(max_age_s=0)),
        ("Max-Age = 5", FreshnessDirectives(max_age_s=5)),
        ('max-age="5"', FreshnessDirectives(max_age_s=5)),
        ("max-age=7, max-age=5", FreshnessDirectives(max_age_s=5)),
        ("max-stale=60", FreshnessDirectives(max_stale_s=60)),
        ("max-stale", FreshnessDirectives(max_stale_s=1e9)),
        ("no-cache", FreshnessDirectives(no_cache=True)),
        ("NO-CACHE", FreshnessDirectives(no_cache=True)),
        ("only-if-cached", FreshnessDirectives(only_if_cached=True)),
        ("max-age=1,max-stale=2 , only-if-cached", FreshnessDirectives(1, 2, only_if_cached=True)),
        ("no-cache, no-store", FreshnessDirectives(no_cache=True)),
        ("max-age", None),
        ("max-age=", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ("max-age=1e3", None),
        ("max-age=٣", None),
        ("max-age=99999999999999999999", None),
        ("max-stale=x", None),
        ("no-transform", None),
        (",,,=,=;", None),
    ],
)
def test_cache_control(value: str, directives: FreshnessDirectives | None) -> None:
    assert parse_directives(value.encode(), b"") == directives


@pytest.mark.parametrize(
    ("value", "since"), [(b"1790771371858", 1_790_771_371_858), (b" 5 ", 5), (b"", None), (b"-5", None), (b"5.0", None)]
)
def test_min_as_of(value: bytes, since: int | None) -> None:
    assert (parse_directives(b"", value) or FreshnessDirectives()).min_as_of_ms == since


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_are_directives_or_none(cache_control: bytes, min_as_of: bytes) -> None:
    directives = parse_directives(cache_control, min_as_of)
    assert directives is None or directives != FreshnessDirectives()
    assert accepts_gzip(cache_control) in {True, False}
    assert accepts_only_sbe(cache_control) in {True, False}
    parse_if_none_match(cache_control)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_directives_in_any_order_and_case(age: int, stale: int, no: bool, only: bool, random: Random) -> None:
    said = [
        f"max-age={age}",
        f"max-stale={stale}",
        *(["no-cache"] if no else []),
        *(["only-if-cached"] if only else []),
    ]
    random.shuffle(said)
    value = " ,\t".join(word.upper() if index % 2 else word for index, word in enumerate(said))
    assert parse_directives(value.encode(), b"") == FreshnessDirectives(age, stale, no, only)


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("br;q=1, *;q=0.1", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip; q = \x1f0", False),
        ("gzip;q=nonsense", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("notgzip", False),
        ("br, deflate", False),
    ],
)
def test_gzip(value: str, taken: bool) -> None:
    assert accepts_gzip(value.encode()) is taken


@pytest.mark.parametrize(
    ("value", "only"),
    [
        ("", False),
        ("application/sbe", True),
        ("Application/SBE;q=0.5", True),
        ("application/sbe, text/html", True),
        ("application/sbe, application/json", False),
        ("application/json;q=0.1,application/sbe", False),
        ("application/sbe, */*;q=0.1", False),
        ("application/*", False),
        ("application/sbe, application/json;q=0, */*", True),
        ("application/sbe;q=0", False),
        ("*/*", False),
        ("text/html", False),
    ],
)
def test_sbe(value: str, only: bool) -> None:
    assert accepts_only_sbe(value.encode()) is only


@given(st.lists(st.text("abcdef0123456789-", min_size=1), min_size=1, max_size=5), st.booleans())
def test_tags(tags: list[str], weak: bool) -> None:
    value = ", ".join(f'{"W/" if weak else ""}"{tag}"' for tag in tags)
    assert parse_if_none_match(value.encode()) == (frozenset(tag.encode() for tag in tags), False)


def test_any_tag() -> None:
    assert parse_if_none_match(b" * ") == (frozenset(), True)


@pytest.mark.parametrize(
    ("value", "name", "lane"),
    [
        (b"engine", "engine", Lane.HIGH),
        (b"ai", "ai", Lane.NORMAL),
        (b"backfill", "backfill", Lane.LOW),
        (b"stranger", "", Lane.NORMAL),
        (b"", "", Lane.NORMAL),
        (b"ENGINE", "", Lane.NORMAL),
        (b"\xff", "", Lane.NORMAL),
    ],
)
def test_clients(value: bytes, name: str, lane: Lane) -> None:
    asked = READER.parse(SPOT, b"", [(b"x-mdcache-client", value)])
    assert (asked.client, asked.lane) == (name, lane)


def test_the_time_unit_is_part_of_the_key_on_spot_only() -> None:
    unit = [(b"x-mbx-time-unit", b"MICROSECOND")]
    assert READER.parse(SPOT, b"a=b", unit).key == ("/api/v3/klines", b"a=b", b"MICROSECOND")
    assert READER.parse(USDM, b"a=b", unit).key == ("/fapi/v1/klines", b"a=b", b"")


def test_an_api_key_splits_nothing() -> None:
    key = [(b"x-mbx-apikey", b"None"), (b"content-type", b"application/json")]
    assert READER.parse(SPOT, b"a=b", key) == READER.parse(SPOT, b"a=b", [])


def test_a_header_twice_is_one_list() -> None:
    twice = [(b"cache-control", b"max-age=1"), (b"cache-control", b"only-if-cached")]
    assert READER.parse(SPOT, b"", twice).directives == FreshnessDirectives(1, only_if_cached=True)


NO_CACHE = (b"cache-control", b"no-cache")
PRAGMA = (b"pragma", b"no-cache")
TAG = (b"if-none-match", b'"a"')


@pytest.mark.parametrize(
    ("headers", "refresh"),
    [
        # as captured from Node 20, which follows the standard of Fetch: a condition of the caller's brings both along
        ([TAG, PRAGMA, NO_CACHE], False),
        ([(b"if-modified-since", b"Sun, 29 Nov 2026 07:00:00 GMT"), PRAGMA, NO_CACHE], False),
        ([(b"if-match", b'"a"'), PRAGMA, NO_CACHE], False),
        ([TAG, PRAGMA, (b"cache-control", b"No-Cache ")], False),
        ([PRAGMA, NO_CACHE], True),  # fetch(url, {cache: "no-store"}) and a forced reload
        ([TAG, NO_CACHE], True),  # a caller's own directive, of any other client
        ([TAG, PRAGMA], False),
        ([TAG, PRAGMA, (b"cache-control", b"no-cache, no-store")], True),
        ([TAG, (b"pragma", b"x"), NO_CACHE], True),
    ],
)
def test_no_cache_that_fetch_adds_to_a_condition(headers: list[tuple[bytes, bytes]], refresh: bool) -> None:
    directives = READER.parse(SPOT, b"", headers).directives
    assert directives == (FreshnessDirectives(no_cache=True) if refresh else None)


def test_other_directives_beside_a_condition_are_kept() -> None:
    asked = READER.parse(SPOT, b"", [TAG, PRAGMA, (b"cache-control", b"max-age=0")])
    assert asked.directives == FreshnessDirectives(max_age_s=0)
    since = [TAG, PRAGMA, NO_CACHE, (b"x-mdcache-min-as-of", b"7")]
    assert READER.parse(SPOT, b"", since).directives == FreshnessDirectives(min_as_of_ms=7)


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), (None, True), ("10.0.0.1", False), ("::2", False)],
)
def test_near(host: str | None, near: bool) -> None:
    assert is_loopback(host) is near
