"""The queue's order."""

import math

import pytest

from mdcache.errors import LaneFull
from mdcache.exchange.markets import Market
from mdcache.upstream.queue import Lane, Priority, QueueEntry, ReadQueue

SPOT, USDM, COINM = Market


def turn(lane: Lane = Lane.NORMAL, client: str = "", *, crossed: bool = False, paced: bool = False) -> Priority:
    return Priority(lane, math.inf, client, crossed, paced)


def drain(lanes: ReadQueue[str]) -> list[str]:
    order = []
    while (place := lanes.peek(set())) is not None:
        order.append(place.item)
        lanes.take(place)
    return order


def fill(lanes: ReadQueue[str], *entries: tuple[str, Priority]) -> list[QueueEntry[str]]:
    return [lanes.add(item, SPOT, each, 2) for item, each in entries]


def test_high_before_normal_before_low() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, ("l", turn(Lane.LOW)), ("n", turn()), ("h", turn(Lane.HIGH)))
    assert (lanes.weight(Lane.LOW), lanes.waiting(Lane.LOW), len(lanes)) == (2, 1, 3)
    assert drain(lanes) == ["h", "n", "l"]
    assert (lanes.weight(Lane.LOW), lanes.waiting(Lane.LOW), len(lanes)) == (0, 0, 0)


def test_a_lane_that_waits_is_served_every_tenth_time() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, *[("h", turn(Lane.HIGH))] * 200, *[("n", turn())] * 20, *[("l", turn(Lane.LOW))] * 20)
    first = drain(lanes)[:100]
    assert first.count("n") >= 9
    assert first.count("l") >= 9
    assert first.count("h") >= 75


def test_tails_that_crossed_a_close_come_first_in_their_lane() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, ("a", turn()), ("crossed", turn(crossed=True)), ("high", turn(Lane.HIGH)))
    assert drain(lanes) == ["high", "crossed", "a"]


def test_round_robin_by_client() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, *[(f"a{i}", turn(client="a")) for i in range(4)], ("b0", turn(client="b")), ("c0", turn(client="c")))
    assert drain(lanes) == ["a0", "b0", "c0", "a1", "a2", "a3"]


def test_a_newcomer_does_not_overtake_what_waits_long() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, *[(f"a{i}", turn(client="a")) for i in range(3)])
    for _ in range(2):
        place = lanes.peek(set())
        assert place is not None
        lanes.take(place)
    fill(lanes, *[(f"b{i}", turn(client="b")) for i in range(3)])
    assert drain(lanes) == ["a2", "b0", "b1", "b2"]


def test_an_improved_turn_is_filed_anew() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    slow = turn(Lane.LOW)
    fill(lanes, ("n", turn()), ("was low", slow))
    slow.lane = Lane.HIGH
    lanes.reorder()
    assert (lanes.waiting(Lane.HIGH), lanes.waiting(Lane.LOW)) == (1, 0)
    assert drain(lanes) == ["was low", "n"]


def test_a_blocked_class_lets_others_pass() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    lanes.add("coinm", COINM, turn(Lane.HIGH), 1)
    lanes.add("paced", USDM, turn(paced=True), 1)
    lanes.add("cold", USDM, turn(), 1)
    blocked = {(Lane.HIGH, (COINM, False)), (Lane.NORMAL, (USDM, True))}
    place = lanes.peek(blocked)
    assert place is not None
    assert place.item == "cold"
    assert lanes.peek(blocked | {(Lane.NORMAL, (USDM, False))}) is None


def test_a_lane_is_bounded_and_leaving_makes_room() -> None:
    lanes: ReadQueue[str] = ReadQueue(max_waiting=2)
    places = fill(lanes, ("a", turn()), ("b", turn()))
    with pytest.raises(LaneFull):
        fill(lanes, ("c", turn()))
    fill(lanes, ("h", turn(Lane.HIGH)))
    lanes.remove(places[0])
    lanes.remove(places[0])
    fill(lanes, ("c", turn()))
    assert drain(lanes) == ["h", "b", "c"]


def test_what_left_does_not_pile_up_behind_a_blocked_head() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, ("head", turn()))
    for _ in range(1_000):
        lanes.remove(fill(lanes, ("gone", turn()))[0])
    assert len(lanes._queues[Lane.NORMAL].heaps[SPOT, False]) < 100
    assert [place.item for place in lanes] == ["head"]


def test_what_is_restored_waits_behind_its_equals_and_is_filed_once() -> None:
    lanes: ReadQueue[str] = ReadQueue()
    fill(lanes, ("a", turn(client="a")), ("b", turn(client="b")))
    for expected in ("a", "b") * 100:
        place = lanes.peek(set())
        assert place is not None
        assert place.item == expected
        lanes.take(place)
        lanes.put_back(place)
    assert len(lanes._queues[Lane.NORMAL].heaps[SPOT, False]) == 2
    assert drain(lanes) == ["a", "b"]
