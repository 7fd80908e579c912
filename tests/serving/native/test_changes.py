"""What changes make which events, without a daemon; positions come back as they were printed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.serving.native.positions import BadPosition, Position
from mdcache.serving.native.series_events import (
    Cursor,
    PrintedCandle,
    SeriesChanges,
    SeriesEvent,
    SeriesNames,
    close_events,
)

NAMES = SeriesNames(SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m"))
MINUTE = 60_000


def candle(minute: int, *, closed: bool, trades: int = 1) -> PrintedCandle:
    text = f'{minute * MINUTE},"1","2","0","1","5",{(minute + 1) * MINUTE - 1},"5",{trades},"1","1","0"'
    return NAMES.candle(text.encode().split(b","), minute * MINUTE, closed=closed)


def named(events: list[SeriesEvent] | None) -> list[str]:
    assert events is not None
    return [event.name.value for event in events]


def test_a_candle_is_printed_as_the_table_has_it() -> None:
    assert candle(1, closed=True).data == (
        b'{"market":"spot","symbol":"BTCUSDT","interval":"1m","as_of":60000,'
        b'"row":[60000,"1","2","0","1","5",119999,"5",1,"1","1",true]}'
    )


def test_only_what_changed_makes_an_event() -> None:
    changes, cursor = SeriesChanges(NAMES), Cursor(MINUTE - 1)
    assert changes.since(cursor, closed_only=False) == []
    changes.show([candle(0, closed=True), candle(1, closed=False)], MINUTE, stale=False)
    assert named(changes.since(cursor, closed_only=False)) == ["candle"]
    changes.show([candle(1, closed=False)], MINUTE + 1, stale=False)
    assert changes.since(cursor, closed_only=False) == []
    changes.show([candle(1, closed=False, trades=2)], MINUTE + 2, stale=False)
    assert named(changes.since(cursor, closed_only=False)) == ["candle"]
    changes.lose()
    changes.lose()
    assert named(changes.since(cursor, closed_only=False)) == ["stale"]
    changes.show([candle(1, closed=True), candle(2, closed=False)], 2 * MINUTE, stale=False)
    assert named(changes.since(cursor, closed_only=False)) == ["closed", "fresh", "candle"]
    changes.revise(candle(1, closed=True, trades=9))
    assert named(changes.since(cursor, closed_only=False)) == ["revised"]
    assert changes.since(cursor, closed_only=False) == []


def test_a_series_that_was_never_known_has_no_as_of_when_it_is_stale() -> None:
    changes, cursor = SeriesChanges(NAMES), Cursor(MINUTE - 1)
    changes.lose()
    events = changes.since(cursor, closed_only=False)
    assert named(events) == ["stale"]
    assert events is not None
    assert events[0].data == b'{"market":"spot","symbol":"BTCUSDT","interval":"1m","as_of":null}'
    changes.show([candle(0, closed=True), candle(1, closed=False)], MINUTE, stale=False)
    assert named(changes.since(cursor, closed_only=False)) == ["fresh", "candle"]


def test_a_revision_before_a_close_was_sent_is_sent_as_that_close() -> None:
    changes, cursor = SeriesChanges(NAMES), Cursor(MINUTE - 1)
    changes.show([candle(0, closed=True), candle(1, closed=True)], 2 * MINUTE, stale=False)
    changes.revise(candle(1, closed=True, trades=9))
    events = changes.since(cursor, closed_only=True)
    assert named(events) == ["closed"]
    assert events is not None
    assert b",9," in events[0].data


def test_listeners_at_their_own_pace_get_each_close_once_in_order() -> None:
    """However far one is behind, and however often others look; beside them a list of all candles."""
    rng = random.Random(5)
    for _ in range(30):
        changes, everything = SeriesChanges(NAMES), [candle(minute, closed=True) for minute in range(400)]
        cursors = [Cursor(rng.randrange(5) * MINUTE - 1) for _ in range(4)]
        starts = [cursor.until_ms for cursor in cursors]
        sent: list[list[int]] = [[] for _ in cursors]
        minute = 6
        while minute < len(everything) - 50:
            newer = minute + rng.choice([0, 1, 1, 1, 2, 40])
            changes.show(everything[minute - 3 : newer], newer * MINUTE, stale=rng.random() < 0.1)
            minute = newer
            for cursor, own in zip(cursors, sent, strict=True):
                if rng.random() < 0.2:
                    events = changes.since(cursor, closed_only=True)
                    if events is None:
                        events = close_events(
                            [each for each in everything if each.close_ms <= changes.complete_after_ms], cursor
                        )
                    own += [
                        event.candle.open_ms // MINUTE for event in events if event.name == "closed" and event.candle
                    ]
        for cursor, start_ms, own in zip(cursors, starts, sent, strict=True):
            if own:
                assert own == list(range((start_ms + 1) // MINUTE, (cursor.until_ms + 1) // MINUTE))


@given(
    symbols=st.integers(1, 70),
    intervals=st.integers(1, 4),
    moves=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 69), st.integers(1, 10**13)), max_size=60),
)
def test_a_position_comes_back_as_it_was(symbols: int, intervals: int, moves: list[tuple[int, int, int]]) -> None:
    position = Position.at("a" * 16, 5, symbols, intervals)
    held = dict.fromkeys(((i, s) for i in range(intervals) for s in range(symbols)), 5)
    for interval, symbol, close_ms in moves:
        if interval < intervals and symbol < symbols:
            position.move(interval, symbol, close_ms)
            held[interval, symbol] = close_ms
    again = Position.read(str(position), "a" * 16, symbols, intervals)
    assert {place: again.until_ms(*place) for place in held} == held
    assert sorted(str(again)) == sorted(str(position))


@given(st.text(max_size=60) | st.from_regex(r"a{16}(\.[0-9a-f~:]{1,30}){2}", fullmatch=True))
def test_any_text_is_a_position_or_refused(text: str) -> None:
    try:
        position = Position.read(text, "a" * 16, 5, 2)
    except BadPosition:
        return
    assert all(position.until_ms(interval, symbol) >= 0 for interval in range(2) for symbol in range(5))
    assert str(Position.read(str(position), "a" * 16, 5, 2)) == str(position)


@pytest.mark.parametrize("part", ["1~2:20", "1~2:3~4:1", "1~1:1", "1~2:1~2:2", "1~2:0"])
def test_a_position_names_each_series_and_time_once(part: str) -> None:
    with pytest.raises(BadPosition):
        Position.read(f"{'a' * 16}.{part}", "a" * 16, 5, 1)


def test_a_position_of_a_thousand_series_is_small() -> None:
    position = Position.at("a" * 16, 1_793_795_371_858, 1_000, 1)
    for symbol in range(0, 1_000, 2):
        position.move(0, symbol, 1_793_795_431_858)
    assert len(str(position)) < 300
