"""The table of docs/design.md#errors over the tree of `errors.py`."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache import errors
from mdcache.errors import (
    BudgetSpent,
    ClientLimited,
    DeadlinePassed,
    Fault,
    GateClosed,
    InvalidBody,
    LaneFull,
    MdcacheError,
    NotCached,
    Refusal,
    ServerFailed,
    TransportFailed,
    UpstreamFailed,
    UpstreamUnavailable,
)
from mdcache.serving.errors import TABLE, error_response, retry_after_seconds
from tests.support.serving_harness import ServingHarness


def tree(kind: type[MdcacheError]) -> Iterator[type[MdcacheError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from tree(child)


def test_the_table_is_complete() -> None:
    """`Refusal` has its own status; every other class has its own entry."""
    assert set(tree(MdcacheError)) == set(TABLE) | {Refusal}


def test_the_tree_is_the_one_that_is_drawn() -> None:
    drawn = str(errors.__doc__)
    assert all(kind.__name__ in drawn for kind in tree(MdcacheError))


def made(kind: type[MdcacheError]) -> MdcacheError:
    if issubclass(kind, UpstreamUnavailable):
        return kind(12.3, "banned (418)")
    if issubclass(kind, UpstreamFailed):
        return kind(Fault.TIMEOUT, "GET https://user:secret@host/?x=y")
    return ClientLimited(12.3) if kind is ClientLimited else kind()


EXPECTED = [
    (GateClosed, 503, -1003, 13),
    (BudgetSpent, 503, -1008, 13),
    (LaneFull, 503, -1008, 13),
    (DeadlinePassed, 503, -1008, 13),
    (TransportFailed, 502, -1006, None),
    (ServerFailed, 502, -1006, None),
    (InvalidBody, 502, -1006, None),
    (NotCached, 504, -1007, None),
]


@pytest.mark.parametrize(("kind", "status", "code", "retry_after"), EXPECTED)
async def test_what_a_client_sees(kind: type[MdcacheError], status: int, code: int, retry_after: int | None) -> None:
    house = ServingHarness()
    house.candles.make = lambda: made(kind)
    reply = await house.ask()
    assert reply.status == status
    body = json.loads(reply.body)
    assert body.keys() == {"code", "msg"}
    assert body["code"] == code
    assert reply.headers.get("retry-after") == (None if retry_after is None else str(retry_after))
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers
    assert "secret" not in reply.body.decode()
    assert [record.result for record in house.recorder.records] == ["refused" if kind is NotCached else "error"]


async def test_a_closed_gate_names_its_cause() -> None:
    assert "banned (418)" in json.loads(error_response(made(GateClosed)).body)["msg"]


@pytest.mark.parametrize("kind", [*tree(MdcacheError)])
def test_only_our_own_limit_is_a_429_and_nothing_a_418(kind: type[MdcacheError]) -> None:
    if kind is not Refusal:
        status = error_response(made(kind)).status
        assert status != 418
        assert (status == 429) == (kind is ClientLimited)


@pytest.mark.parametrize("kind", [kind for kind, shape in TABLE.items() if shape.status == 503])
def test_every_503_says_when_to_return(kind: type[MdcacheError]) -> None:
    assert (error_response(made(kind)).retry_after_s or 0) >= 1


@given(st.floats(allow_nan=False))
def test_whole_seconds(seconds: float) -> None:
    whole = retry_after_seconds(seconds)
    assert whole >= 1
    assert whole >= min(seconds, 31_536_000)
    assert whole - seconds < 1 or whole == 1 or seconds > 31_536_000


async def test_a_refusal_is_binances_own() -> None:
    house = ServingHarness()
    house.candles.make = lambda: Refusal(400, -1121, "Invalid symbol.")
    reply = await house.ask()
    assert (reply.status, reply.body) == (400, b'{"code":-1121,"msg":"Invalid symbol."}')
    assert house.recorder.records[0].result == "refused"


def test_what_is_outside_the_tree_says_no_more_than_that() -> None:
    answer = error_response(ValueError("the secret"))
    assert (answer.status, json.loads(answer.body)["code"]) == (500, -1000)
    assert b"secret" not in answer.body
