"""Others are answered while something long is read: an `exchangeInfo` in a thread, a page of rows in steps."""

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from mdcache import background_work
from mdcache.background_work import in_turns
from mdcache.cache.exchange_info import ExchangeInfo
from mdcache.cache.snapshot_reads import parse
from mdcache.clock import SystemClock
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.snapshots import SnapshotBody, SnapshotQuestion

QUESTION = SnapshotQuestion(EXCHANGE_INFO_ENDPOINTS[0], ())


class Parser(ExchangeInfo):
    """The sink's parser alone, which notes its threads."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def parse(self, question: SnapshotQuestion, body: SnapshotBody) -> Any:
        self.threads.append(threading.get_ident())
        return super().parse(question, body)


async def test_a_long_list_is_parsed_in_a_thread() -> None:
    entries = [{"symbol": f"S{n}USDT", "status": "TRADING", "filters": ["x" * 1_000]} for n in range(2_000)]
    parser = Parser()
    for count in (10, 2_000):
        body = SnapshotBody(msgspec.json.encode({"symbols": entries[:count]}), 7)
        found = await parse(parser, QUESTION, body)
        assert len(found.symbols.names) == count
        assert found.symbols.trades("S0USDT", by_pair=False)
    assert [each == threading.get_ident() for each in parser.threads] == [True, False]


async def test_a_thread_gives_way_and_the_loop_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []

    class Never:
        def wait(self, seconds: float) -> None:
            assert seconds < 0.001
            waited.append(threading.current_thread() is threading.main_thread())

    monkeypatch.setattr(background_work, "_NEVER", Never())
    entries = [{"symbol": f"S{n}USDT", "filters": ["x" * 1_000]} for n in range(600)]
    body = SnapshotBody(msgspec.json.encode({"symbols": entries}), 7)
    Parser().parse(QUESTION, body)
    assert waited == []
    await parse(Parser(), QUESTION, body)
    assert len(waited) > 10
    assert not any(waited)


async def test_others_have_their_turn_between_two_steps() -> None:
    done: list[str] = []

    def steps() -> Generator[None, None, int]:
        for _ in range(2):
            done.append("step")
            yield
        return 7

    async def other() -> None:
        for _ in range(2):
            done.append("other")
            await asyncio.sleep(0)

    assert (await asyncio.gather(in_turns(steps(), SystemClock()), other()))[0] == 7
    assert done == ["step", "other"] * 2
