"""Recent activity in `/v1/status`."""

from typing import get_args

import pytest

from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
from mdcache.errors import BodyFault
from mdcache.events import (
    BackgroundTask,
    BackgroundTaskFailed,
    BodyRejected,
    BudgetShort,
    ClockSuspect,
    DaemonServing,
    DaemonStopped,
    DerivationEnded,
    Event,
    GateChanged,
    OddBody,
    ProfileRead,
    ReadReason,
    RowRevised,
    SettingsIgnored,
    UpstreamCalled,
)
from mdcache.serving.ops.activity import (
    MAX_NOTES_PER_KIND,
    TOP,
    WEIGHT_SECONDS,
    Activity,
    GateClosure,
    Spender,
)
from mdcache.serving.ops.recent_calls import CallCounts
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged
from mdcache.stream_events import (
    ConnectReason,
    StreamComplaint,
    StreamConnected,
    StreamEnd,
    StreamEnded,
    StreamRefused,
    TopicsDead,
)
from tests.support.serving_fakes import NOW_MS, ManualClock

SECRET = "hunter2"
NOTED: dict[type, tuple[Event, str, str, str]] = {
    BudgetShort: (BudgetShort("spot", "the weight budget is spent"), "budget", "spot", "the weight budget is spent"),
    GateChanged: (GateChanged("spot", "closed", "418", 120.4), "gate", "spot", "closed: 418, for 120 s"),
    BodyRejected: (
        BodyRejected("usdm", "/fapi/v1/klines", BodyFault.PRICES, SECRET),
        "rejected",
        "usdm",
        "/fapi/v1/klines: prices",
    ),
    OddBody: (OddBody("spot", "/api/v3/klines", "more-columns"), "odd", "spot", "/api/v3/klines: more-columns"),
    RowRevised: (
        RowRevised("spot", "spot/klines/BTCUSDT/1m", 1_700_000_040_000, b"[1]", b"[2]"),
        "revised",
        "spot",
        "spot/klines/BTCUSDT/1m: the row of 2023-11-14T22:14Z",
    ),
    DerivationEnded: (
        DerivationEnded("spot", "spot/klines/BTCUSDT/1h", 1_700_000_040_000, b"[1]", b"[2]"),
        "derivation",
        "spot",
        "spot/klines/BTCUSDT/1h: the row of 2023-11-14T22:14Z differs from shorter ones",
    ),
    ClockSuspect: (ClockSuspect("coinm", -5_000.4), "clock", "coinm", "a reply's date is off by -5000 ms"),
    StreamConnected: (
        StreamConnected("spot", ConnectReason.LOST, "/stream", 0.2),
        "streams",
        "spot",
        "connected: lost",
    ),
    StreamEnded: (
        StreamEnded("spot", StreamEnd.BROKEN, SECRET, 62.4),
        "streams",
        "spot",
        "connection broken after 62 s",
    ),
    StreamRefused: (StreamRefused("coinm", 0, SECRET), "streams", "coinm", "connect failed: no reply"),
    StreamComplaint: (StreamComplaint("coinm", SECRET), "streams", "coinm", "a message was refused"),
    TopicsDead: (
        TopicsDead("usdm", 3, "btcusdt@kline_1m"),
        "streams",
        "usdm",
        "dead topics: 3, such as btcusdt@kline_1m",
    ),
    TierStateChanged: (TierStateChanged(Tier.DISK, "down", SECRET), "store", Tier.DISK, "down"),
    TierFailed: (TierFailed(Tier.DISK, StoreOp.LOAD, SECRET, lost=True), "store", Tier.DISK, "load failed, data lost"),
    BackgroundTaskFailed: (BackgroundTaskFailed(BackgroundTask.FLIGHT, SECRET), "failed", "daemon", "flight"),
    ProfileRead: (
        ProfileRead(SECRET, 1, 3, ("spot.klines_cap: x",), ("spot.http2",), (SECRET,)),
        "daemon",
        "exchange profile",
        "3 measured, 1 taken, 1 not as assumed and not taken, 1 refused",
    ),
    ClientRefused: (ClientRefused("", SECRET), "client", "other", "asks too often"),
    SettingsReloaded: (SettingsReloaded((SECRET,), ()), "daemon", "daemon", "settings read again"),
    SettingsRefused: (SettingsRefused((SECRET, SECRET)), "daemon", "daemon", "settings refused: 2 problems"),
    SettingsIgnored: (
        SettingsIgnored(("MDCACHE_PORT", "MDCACHE_HOST")),
        "daemon",
        "daemon",
        "ignored: MDCACHE_PORT, MDCACHE_HOST",
    ),
    DaemonServing: (
        DaemonServing("1.2", ("[::]:1",), "http://[::1]:1/", {"spot": SECRET}, 0.5, SECRET),
        "daemon",
        "daemon",
        "serving",
    ),
    DaemonStopped: (DaemonStopped(), "daemon", "daemon", "stopped"),
}


class Home:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.history = Activity(self.clock, lambda _: self.clock.wall_ms() + self.off_ms)
        self.off_ms = 0

    def call(
        self, market: str = "spot", reason: ReadReason = ReadReason.MISSING_ROWS, weight: int = 2, status: int = 200
    ) -> None:
        self.history(UpstreamCalled(market, "klines", "/path", reason, "normal", status, "", weight, 9, 0.1))


@pytest.mark.parametrize("kind", NOTED)
def test_what_is_noted_and_that_no_text_of_others_is(kind: type) -> None:
    home = Home()
    event, *expected = NOTED[kind]
    home.history(event)
    (note,) = home.history.notes()
    assert [note.kind, note.where, note.what] == expected
    assert SECRET not in repr(note)


def test_every_noted_event_is_under_test() -> None:
    assert Home().history._describe.keys() == NOTED.keys()
    assert NOTED.keys() <= set(get_args(Event))


@pytest.mark.parametrize("open_ms", [1_700_000_000_000_000, -(10**18)])
def test_a_time_beyond_the_calendar_is_a_number(open_ms: int) -> None:
    home = Home()
    home.history(RowRevised("spot", "s", open_ms, b"", b""))
    assert str(open_ms) in home.history.notes()[0].what


def test_the_same_again_is_counted_not_listed() -> None:
    home = Home()
    for _ in range(3):
        home.history(BodyRejected("spot", "/p", BodyFault.ORDER, ""))
        home.clock.seconds += 1
    home.history(BodyRejected("spot", "/p", BodyFault.TYPES, ""))
    newest, older = home.history.notes()
    assert (newest.what, newest.count) == ("/p: types", 1)
    assert (older.count, older.since_ms, older.at_ms) == (3, NOW_MS, NOW_MS + 2_000)


def test_one_ban_is_told_once_as_it_is_known_best() -> None:
    home = Home()
    home.history(GateChanged("spot", "closed", "418", 77.0))
    home.history(GateChanged("futures", "closed", "429", 9.0))
    home.history(GateChanged("spot", "closed", "418", 182.0, extended=True))
    assert [(note.where, note.what, note.count) for note in home.history.notes()] == [
        ("futures", "closed: 429, for 9 s", 1),
        ("spot", "closed: 418, for 182 s", 1),
    ]


def test_an_extension_of_what_is_not_listed_any_more() -> None:
    home = Home()
    home.history(GateChanged("spot", "closed", "418", 182.0, extended=True))
    assert [note.what for note in home.history.notes()] == ["closed: 418, for 182 s"]


def test_a_flood_of_one_kind_hides_no_other() -> None:
    home = Home()
    home.history(GateChanged("spot", "closed", "418", 120.0))
    for number in range(500):
        home.clock.seconds += 1
        home.history(BodyRejected("spot", f"/p{number}", BodyFault.ORDER, ""))
    kinds = [note.kind for note in home.history.notes()]
    assert kinds == ["rejected"] * MAX_NOTES_PER_KIND + ["gate"]


def test_weight_by_second_of_the_family() -> None:
    home = Home()
    home.call(weight=2)
    home.call("usdm", weight=5)
    home.call("coinm", weight=1)
    home.clock.seconds += 2
    home.call(weight=20)
    weights = home.history.weights()
    assert weights["spot"].newest_s == (NOW_MS + 2_000) // 1000
    assert weights["spot"].by_second[-3:] == [2, 0, 20]
    assert weights["futures"].by_second[-3:] == [6, 0, 0]
    assert len(weights["spot"].by_second) == WEIGHT_SECONDS
    home.clock.seconds += WEIGHT_SECONDS
    assert sum(home.history.weights()["spot"].by_second) == 0


def test_the_seconds_stay_bounded_and_follow_a_corrected_clock() -> None:
    home = Home()
    for _ in range(5 * WEIGHT_SECONDS):
        home.call(weight=1)
        home.clock.seconds += 1
    assert all(len(known) <= 2 * WEIGHT_SECONDS for known in home.history._weights.values())
    assert home.history.weights()["spot"].by_second == [*[1] * (WEIGHT_SECONDS - 1), 0]
    home.off_ms = -10_000_000
    home.call(weight=7)
    assert home.history.weights()["spot"].by_second[-1] == 7


def test_calls_by_reason() -> None:
    home = Home()
    home.call(reason=ReadReason.SYMBOLS, weight=20)
    home.call(status=418)
    home.clock.seconds += 59.5
    home.call()
    home.call(status=0)
    calls = home.history.calls()
    assert list(calls) == ["missing_rows", "symbols"]
    assert calls["missing_rows"].minute == calls["missing_rows"].total == CallCounts(3, 2, 6)
    home.clock.seconds += 1.0
    calls = home.history.calls()
    assert calls["missing_rows"].minute == CallCounts(2, 1, 4)
    assert calls["symbols"].minute == CallCounts(0, 0, 0)
    assert calls["symbols"].total == CallCounts(1, 0, 20)
    home.clock.seconds += 3_600
    home.call()
    assert len(home.history._minute._slots) == len(home.history._by_client._slots) == 1


def test_who_and_what_cost_most_in_the_last_five_minutes() -> None:
    home = Home()

    def call(client: str, subject: str, weight: int, status: int = 200) -> None:
        home.history(
            UpstreamCalled(
                "spot", "klines", "/p", ReadReason.REFRESH, "normal", status, "", weight, 9, 0.1, None, client, subject
            )
        )

    call("engine", "spot/klines/BTCUSDT/1m", 2)
    call("", "spot/time", 1)
    home.clock.seconds += 200
    call("ai", "spot/depth", 250, status=503)
    call("engine", "spot/klines/BTCUSDT/1m", 2)
    found = home.history.spenders()
    assert found.seconds == 300
    assert found.clients == [Spender("ai", 1, 1, 250), Spender("engine", 2, 0, 4), Spender("other", 1, 0, 1)]
    assert found.series[1:] == [Spender("spot/klines/BTCUSDT/1m", 2, 0, 4), Spender("spot/time", 1, 0, 1)]
    home.clock.seconds += 130  # kept in slots of half a minute
    assert [each.weight for each in home.history.spenders().series] == [250, 2]
    for number in range(100):
        call("engine", f"s{number:02}", 1 + number)
    assert [each.name for each in home.history.spenders().series][:3] == ["spot/depth", "s99", "s98"]
    assert len(home.history.spenders().series) == TOP
    home.clock.seconds += 330
    assert home.history.spenders().clients == []
    assert not home.history._by_subject._sums  # nothing is kept of what is over


def test_closures_with_their_ends_and_what_to_read() -> None:
    home = Home()
    home.history(GateChanged("spot", "closed", "418", 77.0))
    home.clock.seconds += 1
    home.history(GateChanged("futures", "closed", "451", 3_600.0))
    home.history(GateChanged("spot", "closed", "418", 181.0, extended=True))
    home.history(GateChanged("spot", "open", "418", 0.0))
    assert home.history.closures() == [
        GateClosure("spot", "418", NOW_MS, NOW_MS + 182_000, "mdcachebanned"),
        GateClosure("futures", "451", NOW_MS + 1_000, NOW_MS + 3_601_000, "mdcachegateclosed"),
    ]
    for _ in range(100):
        home.history(GateChanged("spot", "closed", "403", 1.0))
    assert {each.runbook for each in home.history.closures()} == {"mdcacheforbidden"}
    assert len(home.history.closures()) == 20
