"""Every order of a few steps of three replicas and their store: never over the share.

Two steps from each start, three from some with `--exhaustive` (`make test`), from all in `make test-long`.
"""

import pytest

from tests.support.examples import exhaustive, long
from tests.upstream import small_model
from tests.upstream.small_model import ALLOWED, NAMES, SERVER, STARTS, at, draw, explored, forgotten, killed, left, over

pytestmark = pytest.mark.untraced


THREE = [(start, 3) for start in STARTS]


@pytest.mark.parametrize(
    ("start", "depth"), [*((start, 2) for start in STARTS), *exhaustive(*THREE[::2]), *long(*THREE[1::2])]
)
def test_no_order_of_steps_spends_more_than_the_share(start: str, depth: int) -> None:
    states, highest = explored(STARTS[start], depth)
    assert states > (500 if depth == 3 else 50)
    if "empty" not in start:
        assert highest > 0.6 * ALLOWED  # the model does spend


@pytest.mark.parametrize(
    ("start", "sound", "broken"),
    [
        ("nothing spent", "local kept = math.ceil(", "local kept = 0 * math.ceil("),
        ("nothing spent", "row.entered == 0 and begun", "false"),
        ("nothing spent", "now >= meta.born + NEW", "true"),
        ("nothing spent", "count(row, minute, row.drawn - row.counted)", ""),
        ("a third joins two", "math.min(even - mine.part, PARTS - meta.total)", "even - mine.part"),
        ("forgotten, and one is missing", "math.max(0, meta.expect - meta.returned)", "0"),
        ("forgotten, and one was not known", "not unshared and first > meta.minute and", ""),
    ],
)
def test_the_model_finds_what_a_broken_rule_does(
    start: str, sound: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SERVER, "broken", (sound, broken))
    with pytest.raises(AssertionError, match=r"draws|cut off"):
        explored(STARTS[start], 3)


def test_it_finds_one_that_takes_a_lost_message_for_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_model, "while_unanswered", lambda allotment, _request: allotment)
    with pytest.raises(AssertionError, match=r"hears nothing|arrives late|cut off"):
        explored(STARTS["nothing spent"], 3)


@pytest.mark.parametrize("start", ["one spent most", "before the edge"])
def test_one_killed_in_a_minute_that_it_entered_has_no_part_of_it_from_an_emptied_store(start: str) -> None:
    for index in range(len(NAMES)):
        world = draw(forgotten(killed(STARTS[start], index, saved=True)), index, 20)
        world = draw(at(world, world.at + 1), index, 20)
        assert not over(world)


@pytest.mark.xfail(strict=True, reason="nobody knows what it drew without its folder: README, Known faults")
def test_one_that_comes_back_elsewhere_to_an_emptied_store_has_no_part_again_either() -> None:
    world = draw(forgotten(left(STARTS["one spent most"], 0)), 0, 20)
    assert not over(draw(at(world, world.at + 1), 0, 20))


# A replica that left and came back elsewhere, to a store that was emptied: nobody knows what it drew.
_ELSEWHERE = ("one spent most",)
# Two are silent while the store is emptied, and a third that they never heard of starts: each takes its part in as many
# as it knows of (docs/design.md#replicas), and none can know better.
_RED = {
    "a third joins two": "nobody knows of all three",
    "forgotten, and one was not known": "the one that knew of all three is gone",
    "before the edge": "one is killed at the edge, and what it spent in that second is not saved",
}


def _known(start: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(start in _RED, strict=True, raises=AssertionError, reason=_RED.get(start, ""))


@pytest.mark.long
@pytest.mark.parametrize("start", [pytest.param(each, marks=_known(each)) for each in STARTS])
@pytest.mark.timeout(3_600)
def test_no_order_of_five_steps_either(start: str) -> None:
    explored(STARTS[start], 5, knowable=start in _ELSEWHERE)
