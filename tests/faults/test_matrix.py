"""Every second cheap fault of the matrix keeps every promise; `make faults` tries all, and for longer."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing

import pytest

from tests.faults.matrix import ALONE, CASES, trying
from tests.faults.trial import Outcome
from tests.support.processes import sim
from tests.support.sim_client import SimClient

pytestmark = [
    pytest.mark.processes,
    pytest.mark.untraced,
    # asyncio forgets a transport that is broken in its handshake, which faults do on purpose
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CHEAP, LONELY = (
    {kind: [case for case in each if not case.long][::2] for kind, each in cases.items()} for cases in (CASES, ALONE)
)
_BENCHES = {"alone": 4, "pair": 1, "streamed": 1}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Future[Outcome]]]:
    with (
        sim() as url,
        closing(SimClient(url)) as exchange,
        sim() as other_url,
        closing(SimClient(other_url)) as other,
        trying(exchange, CHEAP, _BENCHES) as found,
        trying(other, LONELY, {"alone": 1}) as alone,
    ):
        yield found | alone


@pytest.mark.parametrize("name", [case.name for cases in (CHEAP, LONELY) for each in cases.values() for case in each])
def test_every_promise_is_kept(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    outcome = outcomes[name].result(250.0)
    assert {promise: texts for promise, texts in outcome.broken.items() if texts} == {}
    assert outcome.fresh + outcome.marked + outcome.refused > 0
