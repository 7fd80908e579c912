"""Log lines: one for each thing an operator should know, one a minute for all the rest; nothing secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
from mdcache.errors import BodyFault, Fault
from mdcache.events import (
    AuditVerdict,
    BackgroundTask,
    BackgroundTaskFailed,
    BodyRejected,
    BudgetShort,
    ClockMeasured,
    ClockSuspect,
    DaemonServing,
    DaemonStopped,
    DerivationEnded,
    DumpRowsJudged,
    DumpVerdict,
    Event,
    GateChanged,
    MemoryEvicted,
    OddBody,
    ProfileRead,
    QueueWaited,
    ReadReason,
    RequestCollapsed,
    Retried,
    RowRevised,
    RowsAudited,
    SettingsIgnored,
    Summary,
    SymbolsLoaded,
    UpstreamCalled,
)
from mdcache.results import shares
from mdcache.store_events import StoreOp, Tier, TierFailed
from mdcache.stream_events import (
    ConnectReason,
    StreamComplaint,
    StreamConnected,
    StreamEnd,
    StreamEnded,
    StreamRefused,
    StreamsSilent,
    TopicsDead,
)
from mdcache.telemetry.log import LogSink, adopt_library_logs, make_logger

SUMMARY = Summary(
    60.0, shares({"hit": 178, "collapsed": 2, "stale": 4, "error": 6, "miss": 10, "refused": 20}), 1_200, 3, 2_400
)


class SteppedClock:
    seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return 1_790_771_371_858

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


class Written(io.StringIO):
    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


class Desk:
    def __init__(self, level: str = "info") -> None:
        self.clock = SteppedClock()
        self.written = Written()
        self.log = LogSink(make_logger(self.clock, level, "auto", self.written))

    def tell(self, *events: Event) -> list[dict[str, Any]]:
        for event in events:
            self.log(event)
        return self.written.lines()


def called(
    path: str = "/api/v3/klines",
    status: int = 200,
    endpoint: str = "klines",
    fault: str = "",
    rows: int | None = None,
) -> UpstreamCalled:
    return UpstreamCalled("spot", endpoint, path, ReadReason.REFRESH, "high", status, fault, 2, 40_000, 0.123456, rows)


def test_a_call_is_one_line_at_debug() -> None:
    (line,) = Desk("debug").tell(called(rows=500))
    assert line == {
        "event": "upstream",
        "level": "debug",
        "timestamp": "2026-09-30T12:29:31.858Z",
        "market": "spot",
        "path": "/api/v3/klines",
        "reason": "refresh",
        "lane": "high",
        "status": 200,
        "weight": 2,
        "seconds": 0.1235,
        "bytes": 40_000,
        "rows": 500,
    }


def test_a_day_at_twenty_reads_a_second_is_a_line_a_minute() -> None:
    desk = Desk()
    for _ in range(3):
        for _ in range(1_200):
            desk.log(called(rows=500))
        desk.log(SUMMARY)
    lines = desk.written.lines()
    assert [line["event"] for line in lines] == ["summary"] * 3
    assert len(desk.written.getvalue()) * 1_440 / 3 < 1_000_000  # bytes a day


def test_a_summary() -> None:
    (line,) = Desk().tell(SUMMARY)
    assert line == {
        "event": "summary",
        "level": "info",
        "timestamp": "2026-09-30T12:29:31.858Z",
        "seconds": 60.0,
        "requests": 220,
        "questions": 200,
        "hit_ratio": 0.9,
        "marked": 0.02,
        "failed": 0.03,
        "reads": 1_200,
        "reads_failed": 3,
        "weight": 2_400,
    }
    (quiet,) = Desk().tell(Summary(60.0, shares({}), 0, 0, 0))
    assert "hit_ratio" not in quiet  # there is none


def test_levels_of_calls() -> None:
    desk = Desk("debug")
    lines = desk.tell(
        called("/api/v3/exchangeInfo", endpoint="exchangeInfo"),
        called(status=400),
        called(status=429),
        called(status=0, fault="timeout"),
        called(fault="encoding"),
    )
    assert [(line["status"], line["level"], line.get("fault")) for line in lines] == [
        (200, "debug", None),
        (400, "debug", None),  # a client's wrong question
        (429, "warning", None),
        (0, "warning", "timeout"),
        (200, "warning", "encoding"),
    ]
    assert all("rows" not in line for line in lines)


EACH_READ: list[tuple[str, Event]] = [
    ("upstream_failed", called(status=0, fault="timeout")),
    ("body_rejected", BodyRejected("usdm", "/fapi/v1/klines", BodyFault.PRICES, "x")),
    ("odd_body", OddBody("usdm", "/fapi/v1/klines", "more-columns")),
    ("row_revised", RowRevised("spot", "spot/klines/BTCUSDT/1m", 60_000, b"[1]", b"[2]")),
    ("rows_audited", RowsAudited("spot", AuditVerdict.MISSING, 2)),
    ("dump_rows_differ", DumpRowsJudged("spot", "spot/klines/BTCUSDT/1m", DumpVerdict.DIFFERING, 7)),
    ("derivation_ended", DerivationEnded("spot", "spot/klines/BTCUSDT/1h", 60_000, b"[1]", b"[2]")),
    ("clock_suspect", ClockSuspect("spot", 9_000.0)),
    ("topics_dead", TopicsDead("spot", 2, "btcusdt@kline_1m")),
    ("background_task_failed", BackgroundTaskFailed(BackgroundTask.REQUEST, "ValueError")),
    ("stream_connected", StreamConnected("spot", ConnectReason.LOST, "/stream", 0.2)),
    ("stream_ended", StreamEnded("spot", StreamEnd.BROKEN, "no close frame", 1.0)),
    ("stream_refused", StreamRefused("spot", 503, "handshake refused with 503")),
    ("streams_silent", StreamsSilent("spot", 30, "btcusdt@kline_1m")),
    ("stream_complaint", StreamComplaint("spot", "Invalid request")),
    ("store_data_lost", TierFailed(Tier.DISK, StoreOp.LOAD, "checksum", lost=True)),
]


@pytest.mark.parametrize(("name", "event"), EACH_READ)
def test_what_happens_with_each_read_is_told_once_a_minute_and_counted(name: str, event: Event) -> None:
    desk = Desk()
    lines = desk.tell(*[event] * 1_200, SUMMARY, event)
    first, summary, again = lines
    assert first["level"] in {"warning", "error"} or name in {"stream_connected", "streams_silent"}
    assert summary["events"] == {name: 1_200}
    assert again["event"] == first["event"]
    details = Desk("debug").tell(*[event] * 3)
    assert [line["level"] for line in details] == [first["level"], "debug", "debug"]


def test_each_kind_of_trouble_is_told() -> None:
    lines = Desk().tell(called(status=0, fault="timeout"), called(status=503), called(status=0, fault="connect"))
    assert len(lines) == 3


def test_retries_are_details() -> None:
    desk = Desk()
    (line,) = desk.tell(*[Retried("spot", Fault.TIMEOUT)] * 20, SUMMARY)
    assert line["events"] == {"retry": 20}


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (
            GateChanged("spot", "closed", "429", 31.0004),
            "warning",
            {"event": "gate_changed", "family": "spot", "state": "closed", "reason": "429", "reopens_in_s": 31.0},
        ),
        (
            GateChanged("spot", "closed", "418", 182.0, extended=True),
            "info",
            {"event": "gate_extended", "family": "spot", "reason": "418", "reopens_in_s": 182.0},
        ),
        (
            BudgetShort("spot", "the weight budget is spent"),
            "warning",
            {"event": "budget_short", "family": "spot", "cause": "the weight budget is spent"},
        ),
        (GateChanged("spot", "open", "none", 0.0), "info", {"event": "gate_changed", "state": "open"}),
        (
            BodyRejected("usdm", "/fapi/v1/klines", BodyFault.PRICES, "x"),
            "warning",
            {"reason": BodyFault.PRICES, "detail": "x"},
        ),
        (OddBody("usdm", "/fapi/v1/klines", "more-columns"), "warning", {"oddity": "more-columns"}),
        (
            RowRevised("spot", "spot/klines/BTCUSDT/1m", 60_000, b"[1]", b"[2]"),
            "warning",
            {"series": "spot/klines/BTCUSDT/1m", "open_time_ms": 60_000, "was": "[1]", "now": "[2]"},
        ),
        (
            RowsAudited("usdm", AuditVerdict.DIFFERENT, 2),
            "warning",
            {"event": "rows_audited", "market": "usdm", "verdict": "different", "rows": 2},
        ),
        (
            ClockMeasured("spot", -12.34, 20.0),
            "info",
            {"event": "clock_measured", "offset_ms": -12.3, "error_ms": 20.0},
        ),
        (ClockSuspect("spot", 9_000.0), "warning", {"event": "clock_suspect", "skew_ms": 9_000.0}),
        (
            ProfileRead("/s/exchange-profile.json", 9, 3, ("spot.klines_cap: small pages",), (), ()),
            "info",
            {"event": "exchange_profile", "measured_at_ms": 9, "facts": 3, "taken": ["spot.klines_cap: small pages"]},
        ),
        (
            ProfileRead("/s/exchange-profile.json", 0, 0, (), (), ("it is not JSON",)),
            "warning",
            {"refused": ["it is not JSON"]},
        ),
        (SettingsIgnored(("MDCACHE_PORT",)), "warning", {"event": "settings_ignored", "names": ["MDCACHE_PORT"]}),
        (ClientRefused("", "10.0.0.9"), "warning", {"event": "client_refused", "client": "", "address": "10.0.0.9"}),
        (SettingsReloaded(("A",), ()), "info", {"event": "settings_reloaded", "changed": ["A"]}),
        (SettingsReloaded((), ("B",)), "warning", {"changed": [], "needs_restart": ["B"]}),
        (SettingsRefused(("a", "b")), "error", {"event": "settings_refused", "problems": ["a", "b"]}),
        (SymbolsLoaded("coinm", 40), "info", {"event": "symbols_loaded", "symbols": 40}),
        (
            BackgroundTaskFailed(BackgroundTask.FLIGHT, "ValueError"),
            "error",
            {"event": "background_task_failed", "task": "flight", "detail": "ValueError"},
        ),
        (DaemonStopped(), "info", {"event": "stopped"}),
        (
            DaemonServing("1.2", ("[::]:8700",), "http://[::1]:8700/", {"spot": "https://api.test"}, 0.5, "/state"),
            "info",
            {
                "event": "serving",
                "addresses": ["[::]:8700"],
                "page": "http://[::1]:8700/",
                "upstreams": {"spot": "https://api.test"},
                "weight_share": 0.5,
                "state_dir": "/state",
            },
        ),
    ],
)
def test_what_an_operator_should_know(event: Event, level: str, fields: dict[str, Any]) -> None:
    (line,) = Desk().tell(event)
    assert line["level"] == level
    assert line.items() >= fields.items()


@pytest.mark.parametrize("event", [RequestCollapsed("spot"), QueueWaited("high", 0.1), MemoryEvicted("entries", 3)])
def test_what_is_only_counted(event: Event) -> None:
    assert Desk("debug").tell(event) == []


def test_levels() -> None:
    desk = Desk("warning")
    lines = desk.tell(
        called(),
        SymbolsLoaded("spot", 1),
        BackgroundTaskFailed(BackgroundTask.FLIGHT, "x"),
        GateChanged("spot", "closed", "418", 1),
    )
    assert [line["event"] for line in lines] == ["background_task_failed", "gate_changed"]


def test_long_texts_are_cut() -> None:
    (line,) = Desk().tell(BackgroundTaskFailed(BackgroundTask.FLIGHT, "x" * 5_000))
    assert len(line["detail"]) == 301


@pytest.mark.parametrize("form", ["json", "human"])
def test_one_line_whatever_is_in_it(form: Any) -> None:
    written, clock = Written(), SteppedClock()
    log = LogSink(make_logger(clock, "info", form, written))
    log(BodyRejected("spot", "/api/v3/klines", BodyFault.NOT_JSON, 'a\nb"c\x00\x1b[2J\u2028é'))
    assert len(written.getvalue().splitlines()) == 1
    assert "\x1b" not in written.getvalue()
    assert "é" in written.getvalue()


@pytest.mark.parametrize(
    ("form", "terminal", "human"),
    [("auto", True, True), ("auto", False, False), ("human", False, True), ("json", True, False)],
)
def test_forms(form: Any, terminal: bool, human: bool) -> None:
    written = Written(terminal=terminal)
    clock = SteppedClock()
    LogSink(make_logger(clock, "info", form, written))(SymbolsLoaded("spot", 12))
    assert written.getvalue().startswith("{") is not human
    assert "12" in written.getvalue()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers, logger.level
    yield logger
    logger.handlers, logger.level = handlers, level


def test_other_libraries_warnings_come_in_without_their_chatter(root: logging.Logger) -> None:
    desk = Desk()
    adopt_library_logs(make_logger(desk.clock, "info", "json", desk.written))
    logging.getLogger("httpx").info("HTTP Request: GET https://example.test/?signature=secret")
    logging.getLogger("some").warning("beware of %s", "dogs")
    logging.getLogger("asyncio").error("broke", exc_info=ValueError("the secret"))
    first, second = desk.written.lines()
    assert (
        first.items()
        >= {"event": "library_warning", "source": "some", "message": "beware of dogs", "level": "warning"}.items()
    )
    assert second.items() >= {"source": "asyncio", "message": "broke", "raised": "ValueError"}.items()
    assert "secret" not in desk.written.getvalue()
    assert root.level == logging.WARNING
