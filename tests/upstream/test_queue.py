"""The queue's order."""

import math
from dataclasses import dataclass
from typing import Any, cast

import pytest

from mdcache.errors import LaneFull
from mdcache.exchange.markets import Market
from mdcache.upstream.models import Fetchable
from mdcache.upstream.priority import Lane, Priority
from mdcache.upstream.queue import QueuedRead, ReadQueue

SPOT, USDM, COINM = Market


@dataclass
class Named:
    """Of a read, what the queue looks at."""

    name: str
    priority: Priority
    market: Market = SPOT


def waiting(name: str, priority: Priority, market: Market = SPOT, weight: int = 2) -> QueuedRead:
    return QueuedRead(cast("Fetchable[object]", Named(name, priority, market)), cast("Any", None), 0.0, weight)


def name(queued: QueuedRead | None) -> str:
    assert queued is not None
    return cast("Named", queued.read).name


def how(
    lane: Lane = Lane.NORMAL, client: str = "", *, close_passed: bool = False, paced: bool = False, address: str = ""
) -> Priority:
    return Priority(lane, math.inf, client, close_passed, paced, address)


def drain(queue: ReadQueue) -> list[str]:
    order = []
    while (queued := queue.peek(set())) is not None:
        order.append(name(queued))
        queue.take(queued)
    return order


def fill(queue: ReadQueue, *entries: tuple[str, Priority]) -> list[QueuedRead]:
    made = [waiting(*entry) for entry in entries]
    for each in made:
        queue.add(each)
    return made


def test_clients_without_a_name_take_turns_by_their_addresses() -> None:
    queue = ReadQueue()
    fill(queue, *((f"a{n}", how(address="10.0.0.1")) for n in range(3)), ("b0", how(address="10.0.0.2")))
    fill(queue, ("c0", how(client="bot", address="10.0.0.1")))
    assert drain(queue) == ["a0", "b0", "c0", "a1", "a2"]


def test_what_is_kept_of_clients_is_bounded_in_a_lane_that_is_never_empty() -> None:
    queue = ReadQueue()
    fill(queue, ("stays", how(close_passed=False, paced=True)))
    for number in range(2_000):
        (each,) = fill(queue, ("x", how(address=f"10.0.{number >> 8}.{number & 255}")))
        queue.take(each)
    assert len(queue._lanes[Lane.NORMAL].tags) < 100


def test_high_before_normal_before_low() -> None:
    queue = ReadQueue()
    fill(queue, ("l", how(Lane.LOW)), ("n", how()), ("h", how(Lane.HIGH)))
    assert (queue.weight(Lane.LOW), queue.waiting(Lane.LOW), len(queue)) == (2, 1, 3)
    assert drain(queue) == ["h", "n", "l"]
    assert (queue.weight(Lane.LOW), queue.waiting(Lane.LOW), len(queue)) == (0, 0, 0)


def test_a_lane_that_waits_is_served_every_tenth_time() -> None:
    queue = ReadQueue()
    fill(queue, *[("h", how(Lane.HIGH))] * 200, *[("n", how())] * 20, *[("l", how(Lane.LOW))] * 20)
    first = drain(queue)[:100]
    assert first.count("n") >= 9
    assert first.count("l") >= 9
    assert first.count("h") >= 75


def test_a_lane_that_was_passed_over_nine_times_is_next() -> None:
    queue = ReadQueue()
    fill(queue, *[("h", how(Lane.HIGH))] * 40, *[("n", how())] * 3)
    assert "".join(drain(queue)[:30]) == ("h" * 9 + "n") * 3
    fill(queue, *[("h", how(Lane.HIGH))] * 40)
    for _ in range(20):  # nobody waits: nobody is passed over
        queue.take(cast("QueuedRead", queue.peek(set())))
    fill(queue, ("l", how(Lane.LOW)))
    assert "".join(drain(queue)[:10]) == "h" * 9 + "l"


def test_the_weight_that_waits_is_the_sum() -> None:
    queue = ReadQueue()
    reads = [waiting(str(weight), how(), weight=weight) for weight in (2, 3, 10)]
    for each in reads:
        queue.add(each)
    queue.remove(reads[0])
    assert queue.weight(Lane.NORMAL) == 13


def test_tails_whose_close_has_passed_come_first_in_their_lane() -> None:
    queue = ReadQueue()
    fill(queue, ("a", how()), ("crossed", how(close_passed=True)), ("high", how(Lane.HIGH)))
    assert drain(queue) == ["high", "crossed", "a"]


def test_round_robin_by_client() -> None:
    queue = ReadQueue()
    fill(queue, *[(f"a{i}", how(client="a")) for i in range(4)], ("b0", how(client="b")), ("c0", how(client="c")))
    assert drain(queue) == ["a0", "b0", "c0", "a1", "a2", "a3"]


def test_a_new_read_does_not_overtake_one_that_waits_long() -> None:
    queue = ReadQueue()
    fill(queue, *[(f"a{i}", how(client="a")) for i in range(3)])
    for _ in range(2):
        queued = queue.peek(set())
        assert queued is not None
        queue.take(queued)
    fill(queue, *[(f"b{i}", how(client="b")) for i in range(3)])
    assert drain(queue) == ["a2", "b0", "b1", "b2"]


def test_a_read_of_a_better_priority_is_queued_anew() -> None:
    queue = ReadQueue()
    slow = how(Lane.LOW)
    fill(queue, ("n", how()), ("was low", slow))
    slow.lane = Lane.HIGH
    queue.reorder()
    assert (queue.waiting(Lane.HIGH), queue.waiting(Lane.LOW)) == (1, 0)
    assert drain(queue) == ["was low", "n"]


def test_a_blocked_class_lets_others_pass() -> None:
    queue = ReadQueue()
    queue.add(waiting("coinm", how(Lane.HIGH), COINM))
    queue.add(waiting("paced", how(paced=True), USDM))
    queue.add(waiting("cold", how(), USDM))
    blocked = {(Lane.HIGH, (COINM, False)), (Lane.NORMAL, (USDM, True))}
    queued = queue.peek(blocked)
    assert queued is not None
    assert name(queued) == "cold"
    assert queue.peek(blocked | {(Lane.NORMAL, (USDM, False))}) is None


def test_a_lane_is_bounded_and_leaving_makes_room() -> None:
    queue = ReadQueue(max_waiting=2)
    made = fill(queue, ("a", how()), ("b", how()))
    with pytest.raises(LaneFull):
        fill(queue, ("c", how()))
    fill(queue, ("h", how(Lane.HIGH)))
    queue.remove(made[0])
    queue.remove(made[0])
    fill(queue, ("c", how()))
    assert drain(queue) == ["h", "b", "c"]


def test_what_left_does_not_pile_up_behind_a_blocked_head() -> None:
    queue = ReadQueue()
    fill(queue, ("head", how()))
    for _ in range(1_000):
        queue.remove(fill(queue, ("gone", how()))[0])
    assert len(queue._lanes[Lane.NORMAL].heaps[SPOT, False]) < 100
    assert [name(queued) for queued in queue] == ["head"]
    assert drain(queue) == ["head"]
