"""What a connection is subscribed to: within the limits of messages, from state alone, and asked again where silent."""

import json

import pytest

from mdcache.upstream.streams.limits import MESSAGE_BYTES, TOPICS_A_CONNECTION
from mdcache.upstream.streams.messages import (
    Acknowledged,
    Complaint,
    Shutdown,
    TopicFrame,
    TopicList,
    Undecodable,
    batch,
    read_message,
)
from mdcache.upstream.streams.subscriptions import OutgoingMessage, Subscriptions

LONGEST = dict.fromkeys(
    f"1000000000000{number:05d}usdt_current_quarter@continuousKline_15m@+08:00" for number in range(5_000)
)

QUIET, LIVELY = "quiet@kline_1m", "lively@kline_1m"


def _drain(subscriptions: Subscriptions, now_s: float) -> list[OutgoingMessage]:
    found = []
    while (message := subscriptions.next_message(now_s, now_s)) is not None:
        found.append(message)
        assert len(found) < 1_000, "messages without end"
    return found


def _params(message: OutgoingMessage) -> list[str]:
    params: list[str] = json.loads(message.text)["params"]
    return params


def test_5000_topics_of_the_longest_names_fit_into_messages_of_3500_bytes() -> None:
    messages = _drain(Subscriptions(LONGEST), 0.0)
    assert max(len(message.text.encode()) for message in messages) <= MESSAGE_BYTES
    assert [topic for message in messages for topic in _params(message)] == list(LONGEST)
    assert len({json.loads(message.text)["id"] for message in messages}) == len(messages)


def test_messages_are_filled_although_each_is_an_own_one() -> None:
    assert len(batch(f"symbol{number:03d}usdt@kline_1m" for number in range(800))) > 100


def test_a_connection_of_800_topics_is_subscribed_to_within_5_s_at_two_messages_a_second() -> None:
    assert len(_drain(Subscriptions([f"symbol{number:03d}usdt@kline_15m" for number in range(800)]), 0.0)) <= 10


def test_what_is_sent_is_what_is_wanted_at_that_moment() -> None:
    wanted = {"a": 0, "b": 0}
    subscriptions = Subscriptions(wanted)
    del wanted["a"]
    wanted["c"] = 0
    assert [_params(message) for message in _drain(subscriptions, 0.0)] == [["b", "c"]]
    del wanted["b"]
    wanted["d"] = 0
    sent = [(json.loads(message.text)["method"], _params(message)) for message in _drain(subscriptions, 0.5)]
    assert sent == [("SUBSCRIBE", ["d"]), ("UNSUBSCRIBE", ["b"])]
    assert _drain(subscriptions, 1.0) == []


def test_all_topics_exchanged_at_once_never_count_twice() -> None:
    wanted = dict.fromkeys((f"old{number}@kline_1m" for number in range(TOPICS_A_CONNECTION)), 0)
    subscriptions = Subscriptions(wanted)
    _drain(subscriptions, 0.0)
    wanted.clear()
    wanted.update(dict.fromkeys((f"new{number}@kline_1m" for number in range(TOPICS_A_CONNECTION)), 0))
    held = TOPICS_A_CONNECTION
    for message in _drain(subscriptions, 0.1):
        held += len(_params(message)) * (1 if json.loads(message.text)["method"] == "SUBSCRIBE" else -1)
        assert held < 1_024
    assert held == TOPICS_A_CONNECTION


def test_topics_that_the_other_side_forgot_are_asked_for_again_at_once() -> None:
    subscriptions = Subscriptions(["a", "b", "c", "d"])
    _drain(subscriptions, 0.0)
    assert _drain(subscriptions, 1.9) == []
    (question,) = _drain(subscriptions, 2.0)
    asked = json.loads(question.text)
    assert asked["method"] == "LIST_SUBSCRIPTIONS"
    subscriptions.record_list(asked["id"], ["a", "c"])
    assert [_params(message) for message in _drain(subscriptions, 2.1)] == [["b", "d"]]
    (question,) = _drain(subscriptions, 10.0)
    subscriptions.record_list(json.loads(question.text)["id"], ["a", "b", "c", "d"])
    assert _drain(subscriptions, 29.0) == []


def test_a_list_is_not_needed_where_every_topic_has_frames_nor_believed_against_them() -> None:
    subscriptions = Subscriptions(["a", "b"])
    _drain(subscriptions, 0.0)
    subscriptions.record_frame("a", 1.0)
    (question,) = _drain(subscriptions, 2.0)
    subscriptions.record_frame("b", 2.1)
    subscriptions.record_list(json.loads(question.text)["id"], ["A", "B"])
    assert _drain(subscriptions, 20.0) == []


def test_a_list_that_answers_another_question_changes_nothing() -> None:
    subscriptions = Subscriptions(["a"])
    _drain(subscriptions, 0.0)
    subscriptions.record_list(77, [])
    assert _drain(subscriptions, 1.0) == []


def test_a_silent_topic_is_asked_for_again_after_30_s_then_ever_more_rarely() -> None:
    subscriptions = Subscriptions([QUIET, LIVELY])
    again: list[float] = []
    for second in range(4_000):
        for message in _drain(subscriptions, float(second)):
            sent = json.loads(message.text)
            if sent["method"] == "LIST_SUBSCRIPTIONS":
                subscriptions.record_list(sent["id"], [QUIET, LIVELY])
            elif message.silent:
                assert message.silent == (QUIET,)
                again.append(second)
        subscriptions.record_frame(LIVELY, float(second))
    assert again[0] == 30
    assert len(again) <= 9
    subscriptions.record_frame(QUIET, 4_000.0)
    subscriptions.record_frame(LIVELY, 4_000.0)
    assert _drain(subscriptions, 4_029.0) == []
    assert next(message.silent for message in _drain(subscriptions, 4_030.0)) == (QUIET, LIVELY)


def test_a_topic_that_is_asked_for_again_is_ended_first() -> None:
    subscriptions = Subscriptions([QUIET])
    _drain(subscriptions, 0.0)
    methods = [json.loads(message.text)["method"] for message in _drain(subscriptions, 30.0)]
    assert [method for method in methods if method != "LIST_SUBSCRIPTIONS"] == ["UNSUBSCRIBE", "SUBSCRIBE"]


def test_a_topic_that_is_ended_to_be_asked_for_again_may_be_unwanted_in_between() -> None:
    wanted = {QUIET: 0, LIVELY: 0}
    subscriptions = Subscriptions(wanted)
    _drain(subscriptions, 0.0)
    message = subscriptions.next_message(40.0, 40.0)
    assert message is not None
    while "UNSUBSCRIBE" not in message.text:
        message = subscriptions.next_message(40.0, 40.0)
        assert message is not None
    assert _params(message) == [QUIET, LIVELY]
    del wanted[QUIET]
    later = [one for at_s in range(41, 4_000, 10) for one in _drain(subscriptions, at_s)]
    assert not [one for one in later if "params" in one.text and QUIET in _params(one)]


def test_a_silent_topic_of_which_each_frame_counts_is_never_ended_to_be_asked_for_again() -> None:
    wanted = ["btcusdt@trade", "btcusdt@depth", "nobodys@nothing"]
    subscriptions, methods = Subscriptions(wanted), set()
    for second in range(4_000):
        for message in _drain(subscriptions, float(second)):
            sent = json.loads(message.text)
            methods.add(sent["method"])
            if sent["method"] == "LIST_SUBSCRIPTIONS":
                subscriptions.record_list(sent["id"], wanted)
    assert methods == {"SUBSCRIBE", "LIST_SUBSCRIPTIONS"}


def test_500_quiet_topics_cost_few_messages() -> None:
    wanted = dict.fromkeys(f"quiet{number:03d}usdt@kline_1m" for number in range(500))
    subscriptions, messages = Subscriptions(wanted), 0
    for second in range(3_600):
        for message in _drain(subscriptions, float(second)):
            messages += 1
            sent = json.loads(message.text)
            if sent["method"] == "LIST_SUBSCRIPTIONS":
                subscriptions.record_list(sent["id"], wanted)
    assert messages < 120


def test_a_connection_that_says_nothing_is_asked_something() -> None:
    subscriptions = Subscriptions(["a"])
    _drain(subscriptions, 0.0)
    subscriptions.record_frame("a", 1.0)
    assert subscriptions.next_message(5.9, 1.0) is None
    question = subscriptions.next_message(6.0, 1.0)
    assert question is not None
    assert json.loads(question.text)["method"] == "LIST_SUBSCRIPTIONS"
    assert subscriptions.next_message(10.9, 1.0) is None


def test_a_frame_of_an_unwanted_topic_is_nobodys() -> None:
    subscriptions = Subscriptions(["a"])
    _drain(subscriptions, 0.0)
    subscriptions.record_frame("b", 1.0)
    subscriptions.record_frame("a", 2.0)
    assert (subscriptions.seen_s("a"), subscriptions.seen_s("b")) == (2.0, None)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (b'{"stream":"a@kline_1m","data":{"e":"kline","E":1}}', TopicFrame("a@kline_1m", b'{"e":"kline","E":1}')),
        (b'{"data":[1,2],"stream":"!miniTicker@arr"}', TopicFrame("!miniTicker@arr", b"[1,2]")),
        ('{"result":null,"id":3}', Acknowledged(3)),
        ('{"result":["a","b"],"id":4}', TopicList(4, ("a", "b"))),
        ('{"result":[],"id":4}', TopicList(4, ())),
        ('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', Shutdown()),
        ('{"e":"serverShutdown","E":1}', Shutdown()),
        ('{"code":2,"msg":"Invalid request: x"}', Complaint("Invalid request: x", 2)),
        ('{"error":{"code":4,"msg":"Too many subscriptions"}}', Complaint("Too many subscriptions", 4)),
        ('{"code":0,"msg":"Unknown property","id":1}', Complaint("Unknown property", 0, 1)),
        ('{"error":{"code":2},"id":7}', Complaint("2", 2, 7)),
        ("[]", Undecodable("")),
        ("null", Undecodable("")),
        ("{}", Undecodable(None)),
        (b"\x00\xff", Undecodable("")),
        ("<html></html>", Undecodable("")),
        ('{"stream":5,"data":1}', Undecodable("")),
        ('{"stream":"x@trade"}', Undecodable("x@trade")),
        (b'{"stream":"x@trade","data":{"s":"\xff"}}', Undecodable("x@trade")),
        ("[" * 100_000, Undecodable("")),
        ('{"stream":"x@trade","data":{"e":"tr', Undecodable("x@trade")),
        (b' { "stream" : "\xe5\xb8\x81@trade","data":{"s":"\xe5', Undecodable("币@trade")),
        (b'{"stream":"\xe5@trade","data":1}', Undecodable("")),
        ('{"stream":"x@tr', Undecodable("")),
        ('{"stream":"x@trade","data":{"e":{"stream":"y@trade","data":{}}', Undecodable("")),
        ('{"stream":"x@trade","data":{"e",:1}}', Undecodable("")),
        ('de","E":17}}', Undecodable("")),
        ('{"e":"announcement","E":17}', Undecodable(None)),
    ],
)
def test_what_a_message_says(text: bytes | str, meaning: object) -> None:
    assert read_message(text) == meaning
