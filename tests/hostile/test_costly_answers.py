"""Many requests at once for what takes long to make: each turn of the event loop is as short as for one."""

import asyncio

import pytest

from mdcache.serving.ops import status
from mdcache.serving.ops.series_list import series_lines
from tests.support.serving_harness import ServingHarness
from tests.support.status_page import fill


class Listings:
    """How many lists of series were being made whenever one was begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.one_began = asyncio.Event()
        self._under_way = 0

    async def make(self, *args: object) -> object:
        self._under_way += 1
        self.begun.append(self._under_way)
        self.one_began.set()
        await asyncio.sleep(0)
        try:
            return await series_lines(*args)  # type: ignore[arg-type] # as it was asked
        finally:
            self._under_way -= 1


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Listings:
    found = Listings()
    monkeypatch.setattr(status, "series_lines", found.make)
    return found


async def test_a_hundred_that_ask_for_all_series_share_two_lists(listings: Listings) -> None:
    house = ServingHarness()
    fill(house, 20)
    for path, query in (("/v1/series", b""), ("/v1/status", b"series=1")):
        listings.begun.clear()
        replies = await asyncio.gather(*(house.ask(path, query) for _ in range(100)))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body for reply in replies}) <= 2
        assert len(listings.begun) == 2
        assert max(listings.begun) == 1


async def test_lists_for_different_questions_are_made_one_after_the_other(listings: Listings) -> None:
    house = ServingHarness()
    fill(house, 20)
    replies = await asyncio.gather(*(house.ask("/v1/series", b"symbol=C%04dUSDT" % n) for n in range(20)))
    assert [reply.body.count(b'"symbol"') for reply in replies] == [5] * 4 + [0] * 16
    assert listings.begun == [1] * 20


async def test_an_answer_is_never_older_than_its_question(listings: Listings) -> None:
    house = ServingHarness()
    fill(house, 3)
    first = asyncio.create_task(house.ask("/v1/series", b""))
    await listings.one_began.wait()
    fill(house, 5)
    (later, early) = await asyncio.gather(house.ask("/v1/series", b""), first)
    assert later.body.count(b'"symbol"') == 5
    assert early.status == 200


async def test_who_gives_up_holds_up_nobody(listings: Listings) -> None:
    house = ServingHarness()
    fill(house, 3)
    asked = [asyncio.create_task(house.ask("/v1/series", b"")) for _ in range(5)]
    await listings.one_began.wait()
    asked[0].cancel()
    asked[2].cancel()
    replies = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(reply, BaseException) for reply in replies] == [True, False, True, False, False]
