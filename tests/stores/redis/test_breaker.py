"""The circuit breaker, as a table: what opens it, what closes it, and what changes nothing."""

import pytest
from redis import exceptions as foreign

from mdcache.stores.redis.breaker import Breaker, Outcome, outcome_of

DONE, LOST, UNUSABLE = Outcome.DONE, Outcome.LOST, Outcome.UNUSABLE
PROBE_DONE, PROBE_LOST = Outcome.PROBE_DONE, Outcome.PROBE_LOST
CLOSED = Breaker().step(PROBE_DONE, 100.0)


def after(state: Breaker, *steps: tuple[float, Outcome]) -> Breaker:
    for now_s, outcome in steps:
        state = state.step(outcome, now_s)
    return state


def test_it_begins_open_and_one_probe_closes_it() -> None:
    assert not Breaker().closed
    assert CLOSED.closed


@pytest.mark.parametrize(
    ("steps", "closed"),
    [
        ([(101.0, LOST)], True),
        ([(101.0, LOST), (102.0, LOST)], False),
        ([(101.0, LOST), (102.0, DONE), (103.0, LOST)], True),
        ([(101.0, LOST), (102.0, DONE), (103.0, LOST), (104.0, DONE), (105.0, LOST)], False),
        ([(101.0, LOST), (102.0, DONE), (103.0, LOST), (104.0, DONE), (111.5, LOST)], True),
        ([(101.0, UNUSABLE)], False),
    ],
    ids=["one", "two in a row", "one between", "three within ten seconds", "three in more", "it says so"],
)
def test_what_opens_it(steps: list[tuple[float, Outcome]], closed: bool) -> None:
    assert after(CLOSED, *steps).closed == closed


def test_after_a_flap_three_probes_in_a_row_close_it() -> None:
    soon, late = CLOSED.step(UNUSABLE, 109.0), CLOSED.step(UNUSABLE, 110.0)
    assert late.step(PROBE_DONE, 111.0).closed
    assert not after(soon, (110.0, PROBE_DONE), (111.0, PROBE_DONE)).closed
    assert after(soon, (110.0, PROBE_DONE), (111.0, PROBE_DONE), (112.0, PROBE_DONE)).closed
    assert not after(soon, (110.0, PROBE_DONE), (111.0, PROBE_DONE), (112.0, PROBE_LOST), (113.0, PROBE_DONE)).closed


@pytest.mark.parametrize("state", [Breaker(), CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("outcome", Outcome)
def test_outcomes_of_the_other_state_change_nothing(state: Breaker, outcome: Outcome) -> None:
    """A call that was in progress when it opened, say."""
    expected = {DONE, LOST, UNUSABLE} if state.closed else {PROBE_DONE, PROBE_LOST}
    if outcome not in expected:
        assert state.step(outcome, 200.0) is state


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (foreign.TimeoutError(), LOST),
        (foreign.ConnectionError("gone"), LOST),
        (ConnectionResetError(), LOST),
        (foreign.AuthenticationError(), UNUSABLE),
        (foreign.OutOfMemoryError(), UNUSABLE),
        (foreign.ReadOnlyError(), UNUSABLE),
        (foreign.ResponseError("MISCONF Redis is configured to save"), UNUSABLE),
        (foreign.ResponseError("NOREPLICAS Not enough good replicas to write."), UNUSABLE),
        (foreign.ResponseError("The user executing the script can't run this command"), UNUSABLE),
        (foreign.ResponseError("WRONGTYPE Operation against a key"), Outcome.REJECTED),
        (foreign.DataError("Invalid input"), Outcome.REJECTED),
    ],
    ids=str,
)
def test_what_an_exception_means(error: Exception, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
