"""Lives, paths, silence and overlaps: the small decisions about connections."""

import json
import random

from mdcache.upstream.streams.lives import draw_life, may_replace
from mdcache.upstream.streams.overlap import Decision, judge
from mdcache.upstream.streams.path_choice import PathChoice
from mdcache.upstream.streams.silence import Patience, Silence
from mdcache.upstream.streams.subscriptions import Subscriptions

HOUR_S = 3_600


def test_lives_differ_and_end_before_binance_ends_them() -> None:
    rng = random.Random(3)
    lives = sorted(draw_life(rng).replaced_after_s for _ in range(1_000))
    assert lives[0] >= 18 * HOUR_S
    assert lives[-1] + 60 < 24 * HOUR_S
    busiest = max(sum(begin <= life < begin + 60 for life in lives) for begin in lives)
    assert busiest < 30, "no minute ends many of them"


def test_replacements_begin_and_end_far_from_a_full_minute() -> None:
    allowed = [second for second in range(60) if may_replace(1_793_795_340_000 + second * 1_000)]
    assert allowed
    assert min(allowed) >= 25
    assert max(allowed) <= 35


def test_a_silent_path_gives_way_to_the_next_until_one_is_known() -> None:
    paths = PathChoice(("/stream", "/market/stream"))
    assert paths.current == "/stream"
    assert not paths.known(0.0)
    paths.record_silence("/stream", 20.0)
    assert paths.current == "/market/stream"
    paths.record_silence("/stream", 21.0)  # told late, by another connection
    assert paths.current == "/market/stream"
    paths.record_frames("/market/stream", 30.0)
    paths.record_silence("/market/stream", 300.0)  # all of a market are silent at times
    assert paths.current == "/market/stream"
    paths.record_silence("/market/stream", 700.0)
    assert paths.current == "/stream"


def test_a_single_path_is_never_left() -> None:
    paths = PathChoice(("/stream",))
    paths.record_silence("/stream", 20.0)
    assert paths.current == "/stream"
    assert paths.known(0.0)


def _replaced(patience: Patience, topics: int, *, known: bool = True, seconds: int = HOUR_S) -> list[int]:
    """When connections are replaced whose topics are all silent, although messages come."""
    found, since = [], 0
    for second in range(seconds):
        silence = Silence(
            message_s=second, frame_s=second, candle_s=since, topics=topics, tickers=True, path_known=known
        )
        if patience.is_over(silence, second):
            patience.record_replacement()
            found.append(second)
            since = second
    return found


def test_many_silent_topics_replace_the_connection_ever_more_rarely() -> None:
    replaced = _replaced(Patience(), 50)
    assert replaced[0] == 20
    assert len(replaced) <= 10


def test_a_few_quiet_topics_are_no_fault_unless_the_path_may_be_wrong() -> None:
    assert _replaced(Patience(), 3) == []
    assert len(_replaced(Patience(), 5, known=False)) >= 50
    alone = _replaced(Patience(), 1, known=False)
    assert alone[0] == 20
    assert len(alone) <= 10, "a delisted symbol may have no frame for ever"


def test_frames_restore_the_patience() -> None:
    patience = Patience()
    _replaced(patience, 50)
    patience.record_frames()
    assert _replaced(patience, 50, seconds=30) == [20]


def test_a_dead_connection_is_replaced_after_10_s_whatever_it_carries() -> None:
    silence = Silence(message_s=5, frame_s=30, candle_s=30, topics=1, tickers=False, path_known=True)
    assert [Patience().is_over(silence, now_s) for now_s in (14.9, 15.0)] == [False, True]


def test_a_market_whose_tickers_are_silent_is_tried_again_after_20_s_and_more() -> None:
    patience = Patience()
    silence = Silence(message_s=100, frame_s=0, candle_s=0, topics=1, tickers=True, path_known=True)
    assert [patience.is_over(silence, now_s) for now_s in (19.9, 20.0)] == [False, True]
    patience.record_replacement()
    assert [patience.is_over(silence, now_s) for now_s in (39.9, 40.0)] == [False, True]


def _two(topics: list[str]) -> tuple[Subscriptions, Subscriptions]:
    """Subscribed to at 0 and at 100."""
    old, new = Subscriptions(topics), Subscriptions(topics)
    for each, at_s in ((old, 0.0), (new, 100.0)):
        while each.next_message(at_s, at_s):
            pass
    return old, new


def _judge(old: Subscriptions, new: Subscriptions, topics: list[str], now_s: float) -> Decision:
    return judge(old, new, topics, opened_s=100.0, now_s=now_s)


def test_a_connection_takes_over_when_it_shows_all_that_the_old_one_shows() -> None:
    topics = ["a", "b", "quiet"]
    old, new = _two(topics)
    old.record_frame("a", 101.0)
    old.record_frame("b", 101.0)
    new.record_frame("a", 101.0)
    assert _judge(old, new, topics, 110.0) is Decision.WAIT
    new.record_frame("b", 111.0)
    assert _judge(old, new, topics, 111.0) is Decision.TAKE_OVER


def test_nothing_is_taken_over_before_every_cadence_has_passed() -> None:
    old, new = _two(["a", "b"])
    new.record_frame("a", 100.2)
    assert _judge(old, new, ["a", "b"], 100.3) is Decision.WAIT
    assert _judge(old, new, ["a", "b"], 102.6) is Decision.TAKE_OVER
    new.record_frame("b", 100.3)
    assert _judge(old, new, ["a", "b"], 100.3) is Decision.TAKE_OVER


def test_where_each_frame_counts_quiet_topics_must_be_on_the_other_sides_list() -> None:
    topics = ["a", "quiet"]
    old, new = _two(topics)
    for each in (old, new):
        each.record_frame("a", 101.0)

    def judged(now_s: float) -> Decision:
        return judge(old, new, topics, opened_s=100.0, now_s=now_s, lossless=True)

    assert _judge(old, new, topics, 103.0) is Decision.TAKE_OVER
    assert judged(103.0) is Decision.WAIT
    question = new.next_message(103.0, 103.0)
    assert question is not None
    number = json.loads(question.text)["id"]
    assert judged(119.9) is Decision.WAIT
    assert judged(120.0) is Decision.TAKE_OVER
    new.record_list(number, topics)
    assert judged(103.1) is Decision.TAKE_OVER


def test_a_connection_that_shows_less_is_dropped() -> None:
    topics = ["a", "b", "c"]
    old, new = _two(topics)
    for topic in topics:
        old.record_frame(topic, 105.0)
    new.record_frame("a", 105.0)
    assert _judge(old, new, topics, 119.0) is Decision.WAIT
    assert _judge(old, new, topics, 120.0) is Decision.DROP


def test_of_two_silent_connections_the_newer_one_stays() -> None:
    old, new = _two(["a"])
    assert _judge(old, new, ["a"], 120.0) is Decision.TAKE_OVER


def test_a_connection_that_could_not_subscribe_is_dropped() -> None:
    old = Subscriptions(["a"])
    assert _judge(old, Subscriptions(["a"]), ["a"], 129.0) is Decision.WAIT
    assert _judge(old, Subscriptions(["a"]), ["a"], 131.0) is Decision.DROP
