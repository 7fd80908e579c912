"""Frames laid over a tail that was read: what they prove is shown, and nothing else (docs/design.md#stream-fed)."""

from dataclasses import replace

import pytest

from mdcache.candles.freshness import tail_ttl_ms
from mdcache.candles.merge import merge
from mdcache.candles.plausibility import find_suspicion
from mdcache.candles.replication import SeriesState, apply_state
from mdcache.candles.series import Series
from mdcache.candles.stream_tail import SilentSpan
from mdcache.candles.tail import Tail
from mdcache.candles.window import tail_window
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame
from tests.candles.timeline import at, make_series, minute_of, now, read_at, row, rows, settled_minutes, show_tail

CADENCE_MS = 2_000
PAGE = tail_window(100)


def frame(event: float, minute: int, trades: int = 60, *, final: bool = False) -> Frame:
    return Frame(at(event), row(minute, trades), final)


def streamed(*frames: Frame, read: float = 10.5) -> Series:
    """A series whose minutes 9 and 10 were read within minute 10, and the frames after it."""
    series = make_series()
    show_tail(series, 9, 10, as_of=read)
    for one in frames:
        series.apply_frame(one, CADENCE_MS)
    return series


def live(series: Series) -> Tail:
    assert series.live_tail is not None
    return series.live_tail


def shown(series: Series) -> tuple[float, list[tuple[float, int]]]:
    """The live tail's as-of, and its rows as (minute, trades)."""
    return minute_of(live(series).as_of_ms), [(minute_of(each.open_ms), each.trades) for each in live(series).rows]


def test_a_frame_replaces_the_open_candle_and_its_event_time_is_the_as_of() -> None:
    series = streamed(frame(10.6, 10, 61))
    assert shown(series) == (10.6, [(9, 60), (10, 61)])
    assert live(series).open_until_ms == at(11) - 1


@pytest.mark.parametrize(
    "useless",
    [
        frame(10.6, 10, 61),  # the same again
        frame(10.55, 10, 61),  # an older one
        frame(10.7, 10, 59),  # a candle never shrinks
        frame(10.6, 8, 60),  # of a settled candle
    ],
)
def test_what_proves_nothing_new_changes_nothing(useless: Frame) -> None:
    series = streamed(frame(10.6, 10, 61))
    before, version = shown(series), series.tail_version
    assert not series.apply_frame(useless, CADENCE_MS)
    assert (shown(series), series.tail_version) == (before, version)


def test_a_frame_from_before_the_read_shows_nothing() -> None:
    assert shown(streamed(frame(10.4, 10, 99))) == (10.5, [(9, 60), (10, 60)])


def test_a_final_frame_completes_the_newest_candle_as_of_its_close() -> None:
    series = streamed(frame(11.01, 10, 70, final=True))
    assert shown(series) == (minute_of(at(11) - 1), [(9, 60), (10, 70)])
    assert live(series).open_until_ms is None
    assert not live(series).close_passed(at(11.02))


def test_the_next_candle_follows_its_final_frame() -> None:
    series = streamed(frame(11.01, 10, 70, final=True), frame(11.02, 11, 3))
    assert shown(series) == (11.02, [(9, 60), (10, 70), (11, 3)])


def test_frames_of_the_next_candle_wait_for_the_final_frame_of_the_last() -> None:
    series = streamed(frame(10.9, 10, 69), frame(11.01, 11, 3), frame(11.02, 11, 4))
    assert shown(series) == (10.9, [(9, 60), (10, 69)])
    assert live(series).close_passed(at(11.02))
    series.apply_frame(frame(11.03, 10, 70, final=True), CADENCE_MS)  # on futures 2 s after the close
    assert shown(series) == (11.02, [(9, 60), (10, 70), (11, 4)])


def test_a_late_frame_of_the_last_candle_that_is_not_final_completes_nothing() -> None:
    series = streamed(frame(11.01, 11, 3), frame(11.02, 10, 70))
    assert shown(series) == (minute_of(at(11) - 1), [(9, 60), (10, 70)])
    assert live(series).close_passed(at(11.02))


def test_the_next_candle_that_a_frame_showed_before_the_read_is_not_shown() -> None:
    """The server that was read lags, and more may have been traded until the read was sent."""
    series = make_series()
    show_tail(series, 9, 10, as_of=11.06)
    series.apply_frame(frame(11.03, 10, final=True), CADENCE_MS)
    series.apply_frame(frame(11.05, 11, 3), CADENCE_MS)
    assert shown(series) == (11.06, [(9, 60), (10, 60)])


def test_a_bucket_without_a_frame_ends_what_is_shown() -> None:
    series = streamed(frame(11.01, 10, 70, final=True), frame(12.5, 12, 3))
    assert shown(series) == (minute_of(at(11) - 1), [(9, 60), (10, 70)])


def test_a_read_joins_the_frames_again() -> None:
    series = streamed(frame(12.5, 12, 3), frame(12.6, 12, 9))
    merge(series, [*rows(9, 11), row(12, 4)], PAGE, read_at(12.55))
    assert shown(series) == (12.6, [(11, 60), (12, 9)])
    assert settled_minutes(series) == [9, 10]


def test_a_read_older_than_the_newest_frame_settles_and_takes_nothing_back() -> None:
    series = streamed(frame(11.01, 10, 60, final=True), frame(12.01, 11, 60, final=True), frame(12.8, 12, 50))
    merge(series, [*rows(9, 11), row(12, 40)], PAGE, read_at(12.7))
    assert settled_minutes(series) == [9, 10]
    assert shown(series) == (12.8, [(11, 60), (12, 50)])


def test_a_final_frame_that_a_read_contradicts_is_a_revision() -> None:
    series = streamed(frame(11.01, 10, 60, final=True), frame(12.5, 11, 60))
    changed = merge(series, [row(9), row(10, 61), row(11)], PAGE, read_at(12.6))
    assert [(minute_of(each.open_ms), each.was) for each in changed] == [(10, row(10).raw)]


def just_after_a_close() -> Series:
    """Minute 10 was read 0.6 s after its close."""
    series = make_series()
    show_tail(series, 9, 11, as_of=11.01)
    return series


def test_a_candle_read_just_after_its_close_must_be_confirmed() -> None:
    """It may have been read unfinished: without its final frame, what follows is not shown."""
    series = just_after_a_close()
    series.apply_frame(frame(11.05, 11, 61), CADENCE_MS)
    assert shown(series)[0] == 11.01
    series.apply_frame(frame(11.03, 10, 66, final=True), CADENCE_MS)
    assert shown(series) == (11.05, [(9, 60), (10, 66), (11, 61)])


def test_a_candle_whose_close_the_clocks_error_hides_must_be_confirmed_too() -> None:
    series = make_series()
    show_tail(series, 9, 11, as_of=11.01, error_ms=900)
    series.apply_frame(frame(11.05, 11, 61), CADENCE_MS)
    assert shown(series)[0] == 11.01


@pytest.mark.parametrize(
    ("since", "until", "confirmed"),
    [
        (10.95, 11.02, True),
        (10.99, 11.02, False),  # the server may have lagged by more
        (10.95, 11.0, False),  # a trade just before the read may be missing
    ],
)
def test_silence_from_before_a_close_until_after_the_read_confirms_the_candle(
    since: float, until: float, confirmed: bool
) -> None:
    series = just_after_a_close()
    series.note_silence(SilentSpan(at(since), at(until), row(11).raw))
    assert shown(series)[0] == (until if confirmed else 11.01)
    series.apply_frame(frame(11.05, 11, 61), CADENCE_MS)
    assert shown(series)[0] == (11.05 if confirmed else 11.01)
    series.note_silence(SilentSpan(at(11.05), at(11.06), row(11, 61).raw))
    assert shown(series)[0] == (11.06 if confirmed else 11.01)


def test_silence_must_last_until_the_close_even_of_a_read_that_was_sent_before() -> None:
    series = make_series()
    show_tail(series, 9, 11, as_of=10.99)
    series.note_silence(SilentSpan(at(10.9), at(10.995), row(11).raw))
    series.apply_frame(frame(11.05, 11, 61), CADENCE_MS)
    assert shown(series)[0] == 10.99


def test_what_silence_has_confirmed_stays_confirmed_for_the_next_read() -> None:
    series = just_after_a_close()
    series.note_silence(SilentSpan(at(10.95), at(11.02), row(11).raw))
    series.apply_frame(frame(11.04, 11, 62), CADENCE_MS)
    assert shown(series)[0] == 11.04
    merge(series, [*rows(9, 10), row(11, 61)], PAGE, read_at(11.03))
    assert shown(series) == (11.04, [(10, 60), (11, 62)])


def test_a_lagging_server_is_noticed_by_the_frames_before_its_reply() -> None:
    series = streamed(frame(11.01, 10, 70, final=True), frame(11.5, 11, 9))
    lacks_newest = find_suspicion(series, [row(9), row(10, 70)], PAGE, read_at(11.6))
    assert lacks_newest is not None
    assert lacks_newest.lagging
    fewer = find_suspicion(series, [row(9), row(10, 70), row(11, 8)], PAGE, read_at(11.6))
    assert fewer is not None
    assert fewer.lagging
    assert find_suspicion(series, [row(9), row(10, 69)], PAGE, read_at(10.99)) is None  # sent before the frames


def test_a_read_that_lags_does_not_take_trades_from_a_closed_candle() -> None:
    series = streamed(frame(11.01, 10, 70, final=True), frame(11.5, 11, 9))
    merge(series, [row(9), row(10, 68), row(11, 9)], PAGE, read_at(11.55))
    assert shown(series) == (11.55, [(10, 70), (11, 9)])


def test_a_frame_that_a_read_contradicts_does_not_refuse_later_ones_until_the_close() -> None:
    """Which may be a month ahead."""
    series = streamed(frame(10.6, 10, 99))
    merge(series, [row(9), row(10, 62)], PAGE, read_at(10.65))
    assert shown(series) == (10.65, [(9, 60), (10, 62)])
    assert series.apply_frame(frame(10.7, 10, 63), CADENCE_MS)
    assert shown(series) == (10.7, [(9, 60), (10, 63)])


@pytest.mark.parametrize(
    "lagging",
    [
        [row(9), row(10, 70), row(11, 2)],  # fewer trades
        [row(9), row(10, 70)],  # lacks our newest candle
        [row(9), row(10, 69), row(11, 3)],  # fewer in the closed one
    ],
)
def test_a_tail_of_another_replica_takes_nothing_from_what_frames_have_shown(lagging: list[Row]) -> None:
    series = streamed(frame(11.01, 10, 70, final=True), frame(11.02, 11, 3))
    before = shown(series)
    assert apply_state(series, SeriesState(Tail(at(9), tuple(lagging), at(11.03)))) == []
    assert shown(series) == before


def test_a_tail_of_another_replica_joins_the_frames() -> None:
    series = streamed(frame(11.02, 11, 3), frame(11.2, 11, 9))
    apply_state(series, SeriesState(Tail(at(9), (*rows(9, 10), row(11, 4)), at(11.1))))
    assert shown(series) == (11.2, [(10, 60), (11, 9)])


def test_silence_keeps_an_open_candle_fresh_until_its_close() -> None:
    series = streamed(frame(10.6, 10, 61))
    raw = row(10, 61).raw
    assert series.note_silence(SilentSpan(at(10.6), at(10.9), raw))
    assert shown(series)[0] == 10.9
    assert series.note_silence(SilentSpan(at(10.6), at(11.4), raw))
    assert shown(series)[0] == minute_of(at(11) - 1)
    assert live(series).close_passed(at(11.4))


def test_silence_proves_nothing_of_what_was_seen_before_it_began_or_has_changed() -> None:
    series = streamed(frame(10.6, 10, 61))
    series.note_silence(SilentSpan(at(10.7), at(10.8), row(10, 61).raw))
    assert shown(series)[0] == 10.6
    series.note_silence(SilentSpan(at(10.6), at(10.9), row(10, 61).raw))
    series.apply_frame(frame(10.85, 10, 62), CADENCE_MS)
    assert shown(series)[0] == 10.85


def test_one_silence_goes_on_where_the_other_ended() -> None:
    series = streamed(frame(10.6, 10, 61))
    for until in (10.7, 10.8, 10.9):
        since_ms = series.complete_until_ms()
        assert since_ms is not None
        series.note_silence(SilentSpan(since_ms, at(until), row(10, 61).raw))
        assert shown(series)[0] == until


def test_silences_with_a_gap_between_them_are_not_one() -> None:
    series = streamed(frame(10.6, 10, 61))
    series.note_silence(SilentSpan(at(10.6), at(10.7), row(10, 61).raw))
    assert shown(series)[0] == 10.7
    series.note_silence(SilentSpan(at(10.8), at(10.9), row(10, 61).raw))
    assert shown(series)[0] == 10.7


def test_after_a_read_silence_must_have_begun_before_it_as_servers_lag() -> None:
    series = streamed()
    series.note_silence(SilentSpan(at(10.5), at(10.6), row(10).raw))
    assert shown(series)[0] == 10.5
    assert series.complete_until_ms() == at(10.45)
    series.note_silence(SilentSpan(at(10.45), at(10.7), row(10).raw))
    assert shown(series)[0] == 10.7
    assert series.complete_until_ms() == at(10.7)


def test_a_frame_from_before_the_read_says_that_no_server_lagged() -> None:
    series = streamed(frame(10.49, 10, 60))
    assert series.complete_until_ms() == at(10.49)
    assert streamed(frame(10.49, 10, 61)).complete_until_ms() == at(10.45)


def test_without_a_tail_nothing_is_complete() -> None:
    assert make_series().complete_until_ms() is None
    series = make_series()
    show_tail(series, 9, 10, as_of=10.5, error_ms=30)
    assert series.complete_until_ms() == at(10.45) - 30
    series.note_silence(SilentSpan(at(10.6), at(10.7), row(10).raw))
    assert series.complete_until_ms() == at(10.45) - 30, "with frames or tickers as without any"


def test_the_as_of_does_not_go_back_when_a_reply_overtakes_the_frames() -> None:
    """It was sent before the frame, and written after it."""
    series = streamed(frame(10.6, 10, 61))
    assert shown(series)[0] == 10.6
    merge(series, [row(9), row(10, 62)], PAGE, read_at(10.59))
    assert shown(series) == (10.6, [(9, 60), (10, 62)])


def test_the_as_of_does_not_go_back_when_frames_are_forgotten() -> None:
    series = streamed()
    before = shown(series)
    for minute in range(10, 310):
        series.apply_frame(frame(minute + 1.01, minute, final=True), CADENCE_MS)
        assert shown(series)[0] >= before[0]
        before = shown(series)
    merge(series, rows(300, 310), PAGE, read_at(310.5))
    assert shown(series) == (310.5, [(309, 60), (310, 60)])


def test_a_tail_that_a_stream_feeds_is_fresh_until_a_frame_is_overdue() -> None:
    assert tail_ttl_ms(live(streamed()), 2_000, now(10.5), trading=True) == 2_000
    fed = live(streamed(frame(10.6, 10, 61)))
    assert tail_ttl_ms(fed, 2_000, now(10.6), trading=True) == 2_600
    assert tail_ttl_ms(fed, 10_000, now(10.6), trading=True) == 10_000


def test_a_derived_candle_is_told_and_is_fresh_for_the_ttl() -> None:
    derived = replace(frame(10.6, 10, 61), derived=True)
    series = make_series()
    show_tail(series, 9, 10, as_of=10.5)
    series.apply_frame(derived, 0)
    assert live(series).derived
    assert tail_ttl_ms(live(series), 2_000, now(10.6), trading=True) == 2_000
    series.apply_frame(frame(10.7, 10, 62), CADENCE_MS)
    assert not live(series).derived
    assert tail_ttl_ms(live(series), 2_000, now(10.7), trading=True) == 2_600


def test_a_derived_candle_says_not_that_no_server_lagged() -> None:
    series = streamed(replace(frame(10.6, 10, 60), derived=True))
    assert series.complete_until_ms() == at(10.45)


def test_candles_that_nothing_settles_are_bounded_and_read_again() -> None:
    series = streamed()
    for minute in range(10, 310):
        series.apply_frame(frame(minute + 1.01, minute, final=True), CADENCE_MS)
    assert shown(series) == (10.5, [(9, 60), (10, 60)])


def test_who_looks_for_unsettled_rows_composes_no_tail() -> None:
    """5,000 tails at once would hold up all answers for a third of a second."""
    series = streamed(frame(11.01, 10, 70, final=True), frame(11.5, 11, 9))
    shown(series)
    merge(series, [row(10, 70), row(11, 9)], PAGE, read_at(11.55))
    series.apply_frame(frame(12.01, 11, 10, final=True), CADENCE_MS)
    assert series.oldest_unsettled_ms() == at(11) - 1
    assert series.stream is not None
    assert series.last_shown_tail is series.tail


def test_a_purge_forgets_the_frames() -> None:
    series = streamed(frame(10.6, 10, 61))
    series.forget()
    assert series.live_tail is None
    show_tail(series, 9, 10, as_of=10.5)
    assert shown(series)[0] == 10.5


def test_the_last_trade_is_known_while_a_frame_shows_the_newest_row() -> None:
    series = streamed(replace(frame(10.6, 10, 61), last_trade=9))
    assert series.last_trade([]) == 9
    series.tail = Tail(at(9), (row(9), row(10, 62)), at(10.7))  # a read shows more, but not which trade was the last
    assert series.last_trade([]) == -1
    assert make_series().last_trade([]) == -1


def test_the_last_trade_follows_from_an_earlier_one_and_the_trades_since() -> None:
    series = make_series()
    merge(series, [row(8, 5), row(9, 3), row(10, 2)], PAGE, read_at(10.5))
    assert series.last_trade([(at(11), 900), (at(9), 500), (at(8), 400)]) == 504, "500 to 502 in one candle, then two"
    assert series.last_trade([(at(10), 503), (at(9), 500)]) == 504
    assert series.last_trade([(at(7), 500)]) == 509, "what is not known is not counted"
    assert series.last_trade([(at(11), 900)]) == -1
    assert make_series().last_trade([(at(9), 500)]) == -1


def test_only_final_frames_that_were_shown_long_enough_hold_a_later_read_to_them() -> None:
    series = streamed(frame(10.9, 10, 61), frame(11.01, 10, 62, final=True), frame(11.5, 11, 1), frame(12.1, 12, 1))
    assert series.stream is not None
    assert list(series.stream.shown_closed(at(11) + 3_000)) == [at(10)]
    assert not series.stream.shown_closed(at(11) + 2_999)
    assert list(series.stream.shown_closed(at(20))) == [at(10)]  # 11 has no final frame
