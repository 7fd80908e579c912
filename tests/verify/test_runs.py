"""Whole runs against the simulated exchange: as assumed, through bans, busy addresses, and lost or slow networks."""

import asyncio
import tracemalloc

import httpx
import pytest

from mdcache.errors import Fault
from mdcache.exchange.facts import FACTS
from mdcache.exchange.markets import Family, Market
from mdcache.sim import SimConfig
from mdcache.sim.control.faults import BODY_FAULTS, ROWS_FAULTS
from mdcache.sim.played_facts import PlayedFacts
from mdcache.verify.allowance import MOST_WEIGHT
from mdcache.verify.build import VerifyRequest
from mdcache.verify.findings import FactVerdict
from mdcache.verify.registry import ASSUMPTIONS, chosen
from mdcache.verify.run import VerifyReport
from tests.support.verified_exchange import VerifiedExchange, few_symbols

pytestmark = pytest.mark.virtual

UNSEEN = {"spot.http2", "usdm.http2", "coinm.http2"}  # no TLS here
# What would weigh too much to ask.
TOO_HEAVY = {"usdm.answer_to_over_cap", "coinm.answer_to_over_cap", "coinm.answer_to_limit_characters"}


def keys(report: VerifyReport, verdict: FactVerdict) -> set[str]:
    return {each.fact.key for each in report.findings if each.verdict is verdict}


def reasons(report: VerifyReport, market: Market) -> set[str]:
    return {each.reason for each in report.findings if each.fact.market is market}


async def test_a_run_measures_everything_finds_it_as_assumed_and_stays_under_200_weight() -> None:
    world = VerifiedExchange()
    report = await world.verify()
    assert {each.fact.key for each in report.findings} == FACTS.keys() - TOO_HEAVY
    assert keys(report, FactVerdict.DIFFERS) == set()
    assert keys(report, FactVerdict.NOT_MEASURED) == UNSEEN
    assert sum(entry.weight for entry in world.exchange.log) <= report.weight <= MOST_WEIGHT
    assert report.seconds < 135
    assert not report.refused
    most = max(progress.seconds + progress.seconds_left for progress in world.progress)
    assert report.seconds == pytest.approx(most, abs=2)


def test_the_assumptions_cover_the_table_once_and_leave_weight_to_ask_again() -> None:
    named = [fact.key for each in chosen(tuple(Market)) for fact in each.known_facts.values()]
    assert sorted(named) == sorted(FACTS.keys() - TOO_HEAVY)
    assert sum(each.cost for each in chosen(tuple(Market))) <= MOST_WEIGHT - 10
    for kind in ASSUMPTIONS:
        assert kind.__doc__
        assert all((kind.assumed, kind.how, kind.follows))


async def test_a_quick_run_does_not_wait_for_closes() -> None:
    report = await VerifiedExchange().verify(VerifyRequest(quick=True))
    assert report.seconds < 30
    assert keys(report, FactVerdict.DIFFERS) == set()
    unseen = keys(report, FactVerdict.NOT_MEASURED) - UNSEEN
    assert {key.partition(".")[2] for key in unseen} >= {"final_row_lag_ms", "final_frame_lag_ms", "frames_equal_rows"}
    assert "closes are not waited for in a quick run" in reasons(report, Market.SPOT)


async def test_only_what_was_chosen_is_asked() -> None:
    world = VerifiedExchange()
    report = await world.verify(VerifyRequest((Market.COINM,), ("range_days",)))
    assert keys(report, FactVerdict.AS_ASSUMED) == {"coinm.range_days_cap", "coinm.answer_to_over_range"}
    assert {entry.path for entry in world.exchange.log} == {"/dapi/v1/time", "/dapi/v1/klines"}
    assert world.streams.attempts == []
    assert report.seconds < 5


async def test_nothing_is_sent_into_a_ban_that_is_remembered() -> None:
    world = VerifiedExchange()
    world.governor.close_gate(Family.SPOT, 600.0)
    report = await world.verify(VerifyRequest(quick=True))
    assert not [entry for entry in world.exchange.log if entry.family == "spot"]
    assert not [url for _, url in world.streams.attempts if "usdm" not in url and "coinm" not in url]
    why = report.stopped[Family.SPOT]
    assert "for another 600 s" in why
    assert why in reasons(report, Market.SPOT)
    assert {each.verdict for each in report.findings if each.fact.market is Market.SPOT} == {FactVerdict.NOT_MEASURED}
    assert keys(report, FactVerdict.DIFFERS) == set()
    assert all(each.value is not None for each in report.findings if each.fact.key == "usdm.klines_cap")


@pytest.mark.parametrize(("status", "wait_s"), [("429", 30), ("418", 600), ("403", None)])
async def test_the_first_refusal_ends_the_questions_of_its_family_for_good(status: str, wait_s: int | None) -> None:
    world = VerifiedExchange()
    world.exchange.control.fault(status, path="/fapi/v1/klines", count=1, retry_after_s=wait_s)
    report = await world.verify(VerifyRequest(quick=True))
    refused = next(number for number, entry in enumerate(world.exchange.log) if str(entry.status) == status)
    later = [entry for number, entry in enumerate(world.exchange.log) if number > refused]
    assert not [entry for entry in later if entry.family == "futures" and entry.path.startswith(("/fapi", "/dapi"))]
    assert report.refused
    assert set(report.stopped) == {Family.FUTURES}
    assert keys(report, FactVerdict.DIFFERS) == set()
    assert world.governor.handshakes.handshake_refusal(Market.COINM) is not None  # the daemon will obey it, too
    assert all(each.value is not None for each in report.findings if each.fact.key == "spot.klines_cap")


async def test_a_refused_handshake_ends_the_questions_too() -> None:
    world = VerifiedExchange()
    world.exchange.control.fault("418", path="/stream", count=1, retry_after_s=600)
    report = await world.verify(VerifyRequest(quick=True))
    assert report.refused
    assert set(report.stopped) == {Family.SPOT}
    assert len([url for _, url in world.streams.attempts if url == "ws://exchange.test/stream"]) == 1


async def test_an_address_that_others_use_over_its_share_is_asked_no_more() -> None:
    world = VerifiedExchange()
    world.exchange.control.spend("spot", 3_100, client="192.0.2.1")
    report = await world.verify(VerifyRequest((Market.SPOT,), quick=True))
    assert len([entry for entry in world.exchange.log if entry.path.startswith("/api")]) == 1
    assert "more than its share" in report.stopped[Family.SPOT]
    assert not report.refused


async def test_others_who_use_the_address_make_nothing_look_different() -> None:
    world = VerifiedExchange()
    number = 0

    async def others() -> None:
        nonlocal number
        while True:
            number += 1
            world.exchange.control.spend("spot", number % 7, client="192.0.2.1")
            world.exchange.control.spend("futures", number % 5, client="192.0.2.1")
            await asyncio.sleep(0.06)

    task = asyncio.create_task(others())
    report = await world.verify(VerifyRequest(quick=True))
    task.cancel()
    assert keys(report, FactVerdict.DIFFERS) == set()


async def test_without_a_network_it_ends_at_once_and_says_so() -> None:
    world = VerifiedExchange()
    world.transport.unplugged = world.streams.unplugged = True
    report = await world.verify()
    assert keys(report, FactVerdict.NOT_MEASURED) == FACTS.keys() - TOO_HEAVY
    assert report.seconds < 40
    assert report.measured == {}
    assert any("no route to host" in why for why in reasons(report, Market.USDM))


async def test_a_network_that_is_lost_midway_leaves_what_was_measured_until_then() -> None:
    world = VerifiedExchange()

    def pull() -> None:
        asked = {entry.path for entry in world.exchange.log}
        if "/dapi/v1/premiumIndexKlines" in asked and not world.transport.unplugged:  # all but the closes is asked
            world.transport.unplugged = True
            world.exchange.control.close_streams()

    report = await world.verify(meanwhile=pull)
    assert keys(report, FactVerdict.DIFFERS) == set()
    assert {"spot.klines_cap", "usdm.klines_cap"} <= keys(report, FactVerdict.AS_ASSUMED)
    assert "spot.frames_equal_rows" in keys(report, FactVerdict.NOT_MEASURED)
    assert report.seconds < 60  # the second close is not waited for


async def test_a_slow_network_makes_nothing_look_different() -> None:
    world = VerifiedExchange()
    world.exchange.control.latency(before_s=1.1, after_s=1.1)
    report = await world.verify(VerifyRequest((Market.SPOT,)))
    assert keys(report, FactVerdict.DIFFERS) == set()
    assert "spot.klines_cap" in keys(report, FactVerdict.AS_ASSUMED)
    assert "the network is too slow to read a close in time" in reasons(report, Market.SPOT)
    assert report.seconds < 200


async def test_one_broken_answer_costs_one_fact() -> None:
    world = VerifiedExchange()
    world.exchange.control.fault("truncate", path="/api/v3/klines", count=1)
    report = await world.verify(VerifyRequest((Market.SPOT,), quick=True))
    assert keys(report, FactVerdict.DIFFERS) == set()
    lost = {each.fact.key for each in report.findings if Fault.PROTOCOL.value in each.reason}
    assert 0 < len(lost) <= 2


@pytest.mark.parametrize("kind", sorted((BODY_FAULTS | ROWS_FAULTS | {"500", "503"}) - {"huge", "gzip_bomb"}))
async def test_answers_that_are_none_end_no_run(kind: str) -> None:
    world = VerifiedExchange()
    for path in ("/api/v3/", "/fapi/v1/"):
        world.exchange.control.fault(kind, path=path, count=1_000)
    world.exchange.control.stream_fault("garbage")
    report = await world.verify(VerifyRequest((Market.SPOT, Market.USDM), quick=True))
    assert report.seconds < 30
    assert {"spot.gzip", "spot.frames_equal_rows", "spot.frame_cadence_ms"} & keys(report, FactVerdict.DIFFERS) == set()
    if kind in {"html", "garbage_gzip", "columns", "more_columns", "object", "numbers", "nan", "500"}:
        assert keys(report, FactVerdict.DIFFERS) == set()


@pytest.mark.parametrize("body", [b"<html>Accept our terms</html>", b""])
async def test_a_portal_that_answers_everything_makes_nothing_look_different(body: bytes) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, stream=httpx.ByteStream(body))

    world = VerifiedExchange(transport=httpx.MockTransport(answer))
    world.streams.unplugged = True
    report = await world.verify(VerifyRequest(quick=True))
    assert {each.verdict for each in report.findings} == {FactVerdict.NOT_MEASURED}
    assert any("spot does not answer: 200 without JSON" in reason for reason in reasons(report, Market.SPOT))
    assert len(asked) <= 6  # two of each market


async def test_answers_without_end_are_not_kept() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"[" * (40 << 20)))

    world = VerifiedExchange(transport=httpx.MockTransport(answer))
    world.streams.unplugged = True
    tracemalloc.start()
    try:
        report = await world.verify(VerifyRequest((Market.SPOT,), quick=True))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {each.value for each in report.findings} == {None}
    assert kept < 10 << 20


async def test_weight_that_is_charged_beyond_the_documents_counts() -> None:
    heavy = {key: {"99": 12, "1000": 14} for key, fact in FACTS.items() if fact.name.endswith("_weights")}
    world = VerifiedExchange(SimConfig(symbols=few_symbols(), facts=PlayedFacts(heavy)))
    report = await world.verify()
    assert sum(entry.weight for entry in world.exchange.log) <= MOST_WEIGHT
    assert "spot.klines_weights" in keys(report, FactVerdict.DIFFERS)
    assert "the weight of this run is spent" in reasons(report, Market.COINM)
