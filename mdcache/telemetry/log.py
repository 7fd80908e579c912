"""The log: structlog, one line per event that an operator may want to read, on stderr.

A line names markets, paths, series, counts and causes. Events contain no query strings, header values or secrets, so no
line does; of other libraries' records only the message is logged.
"""

import logging
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TextIO

import msgspec
import structlog

from mdcache.clock import Clock
from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
from mdcache.events import (
    AuditVerdict,
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
    OddBody,
    ProfileRead,
    Retried,
    RowRevised,
    RowsAudited,
    SettingsIgnored,
    Summary,
    SymbolsLoaded,
    UpstreamCalled,
)
from mdcache.results import read_failed
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stream_events import (
    StreamComplaint,
    StreamConnected,
    StreamEnded,
    StreamRefused,
    StreamsSilent,
    TopicsDead,
)

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_MAX_TEXT = 300  # characters of each text: a detail may quote a reply's bytes


class Logger(Protocol):
    """The methods of a structlog logger that are used."""

    def debug(self, event: str, **fields: object) -> object:
        """Log a detail."""

    def info(self, event: str, **fields: object) -> object:
        """Log for the record."""

    def warning(self, event: str, **fields: object) -> object:
        """Log what an operator should know."""

    def error(self, event: str, **fields: object) -> object:
        """Log what an operator should act on."""


def make_logger(clock: Clock, level: str, form: Literal["auto", "human", "json"], stream: TextIO) -> Logger:
    """Return a logger that writes to `stream`; `auto`: for people on a terminal, JSON lines elsewhere."""
    human = form == "human" or (form == "auto" and stream.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if human
        else structlog.processors.JSONRenderer(serializer=_json)
    )

    def stamp(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        moment = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
        fields["timestamp"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return fields

    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, stamp, _escape, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return logger


def adopt_library_logs(logger: Logger) -> "LibraryHandler":
    """Log warnings of other libraries, too; return the handler, which tests remove."""
    handler = LibraryHandler(logger)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # httpx logs every URL with its query at INFO
    return handler


class LibraryHandler(logging.Handler):
    """What logs the warnings of other libraries. `logger` may be replaced."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log the message, and the name of what was raised."""
        raised = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        fields = {"source": record.name, "message": _shortened(record.getMessage()), **_unless_empty("raised", raised)}
        say = self.logger.error if record.levelno >= logging.ERROR else self.logger.warning
        say("library_warning", **fields)


class LogSink:
    """The sink that writes lines: one for each read of Binance at debug, and a summary of each minute at info.

    What may happen with each read or row is a line at its own level the first time between two summaries, and at debug
    from then on; the next summary counts it. `logger` may be replaced.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self._told: set[tuple[str, ...]] = set()
        self._repeats: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Log `event`, if it is one that is logged."""
        match event:
            case UpstreamCalled():
                self._called(event)
            case Summary():
                self._summarise(event)
            case BodyRejected():
                fields = {"market": event.market, "path": event.path, "reason": event.reason}
                say = self._first(self.logger.warning, "body_rejected", event.market, event.reason)
                say("body_rejected", **fields, detail=_shortened(event.detail))
            case Retried():
                self._first(self.logger.debug, "retry")("retry", market=event.market, reason=event.reason)
            case _:
                self._other(event)

    def _other(self, event: Event) -> None:
        match event:
            case TierFailed() | TierStateChanged():
                self._tier(event)
            case GateChanged() | BudgetShort():
                self._family(event)
            case OddBody():
                say = self._first(self.logger.warning, "odd_body", event.market, event.oddity)
                say("odd_body", market=event.market, path=event.path, oddity=event.oddity)
            case RowRevised() | DerivationEnded() | RowsAudited() | DumpRowsJudged():
                self._row(event)
            case ClockMeasured() | ClockSuspect():
                self._clocks(event)
            case SymbolsLoaded():
                self.logger.info("symbols_loaded", market=event.market, symbols=event.symbols)
            case BackgroundTaskFailed():
                say = self._first(self.logger.error, "background_task_failed", event.task)
                say("background_task_failed", task=event.task, detail=_shortened(event.detail))
            case SettingsIgnored() | ProfileRead() | DaemonServing() | DaemonStopped():
                self._daemon(event)
            case _:
                self._settings_or_streams(event)

    def _settings_or_streams(self, event: Event) -> None:
        match event:
            case ClientRefused():
                say = self._first(self.logger.warning, "client_refused", event.client)
                say("client_refused", client=event.client, address=event.address)
            case SettingsRefused():
                self.logger.error("settings_refused", problems=event.problems)
            case SettingsReloaded():
                say = self.logger.warning if event.needs_restart else self.logger.info
                waiting = {"needs_restart": event.needs_restart} if event.needs_restart else {}
                say("settings_reloaded", changed=event.changed, **waiting)
            case (
                StreamConnected() | StreamEnded() | StreamRefused() | StreamsSilent() | StreamComplaint() | TopicsDead()
            ):
                self._streams(event)
            case _:
                return  # only counted: there would be a line per request

    def _family(self, event: GateChanged | BudgetShort) -> None:
        if isinstance(event, BudgetShort):
            self.logger.warning("budget_short", family=event.family, cause=event.cause)
            return
        say = self.logger.warning if event.state == "closed" and not event.extended else self.logger.info
        reopens = _unless_empty("reopens_in_s", round(event.reopens_in_s, 3))
        name = "gate_extended" if event.extended else "gate_changed"
        say(name, family=event.family, state=event.state, reason=event.reason, **reopens)

    def _row(self, event: RowRevised | DerivationEnded | RowsAudited | DumpRowsJudged) -> None:
        if isinstance(event, RowsAudited):
            if event.verdict is not AuditVerdict.SAME:
                say = self._first(self.logger.warning, "rows_audited", event.market, event.verdict)
                say("rows_audited", **asdict(event))
            return
        if isinstance(event, DumpRowsJudged):
            if event.verdict is DumpVerdict.DIFFERING:
                say = self._first(self.logger.warning, "dump_rows_differ", event.series)
                say("dump_rows_differ", series=event.series, rows=event.rows)
            return
        if isinstance(event, RowRevised):
            name, rows = "row_revised", {"was": event.was, "now": event.now}
        else:
            name, rows = "derivation_ended", {"printed": event.printed, "merged": event.merged}
        texts = {label: _shortened(row.decode("latin-1")) for label, row in rows.items()}
        say = self._first(self.logger.warning, name, event.series)
        say(name, series=event.series, open_time_ms=event.open_time_ms, **texts)

    def _daemon(self, event: SettingsIgnored | ProfileRead | DaemonServing | DaemonStopped) -> None:
        match event:
            case ProfileRead():
                say = self.logger.warning if event.refused else self.logger.info
                lists = {"taken": event.taken, "not_as_assumed": event.left, "refused": event.refused}
                texts = {name: [_shortened(each) for each in found] for name, found in lists.items() if found}
                say(
                    "exchange_profile",
                    path=event.path,
                    measured_at_ms=event.measured_at_ms,
                    facts=event.facts,
                    **texts,
                )
            case SettingsIgnored():
                self.logger.warning("settings_ignored", names=event.names)
            case DaemonServing():
                self.logger.info("serving", **asdict(event))
            case DaemonStopped():
                self.logger.info("stopped")

    def _streams(
        self, event: StreamConnected | StreamEnded | StreamRefused | StreamsSilent | StreamComplaint | TopicsDead
    ) -> None:
        market = event.market
        match event:
            case StreamConnected():
                say = self._first(self.logger.info, "stream_connected", market, event.reason)
                seconds = round(event.seconds, 3)
                say("stream_connected", market=market, reason=event.reason, path=event.path, seconds=seconds)
            case StreamEnded():
                say = self.logger.warning if event.end.is_loss else self.logger.info
                say = self._first(say, "stream_ended", market, event.end)
                detail = _unless_empty("detail", _shortened(event.detail))
                say("stream_ended", market=market, end=event.end, seconds=round(event.seconds, 1), **detail)
            case StreamRefused():
                say = self._first(self.logger.warning, "stream_refused", market, str(event.status))
                say("stream_refused", market=market, status=event.status, detail=_shortened(event.detail))
            case StreamsSilent():
                say = self._first(self.logger.info, "streams_silent", market)
                say("streams_silent", market=market, topics=event.topics, example=event.example)
            case StreamComplaint():
                say = self._first(self.logger.warning, "stream_complaint", market)
                say("stream_complaint", market=market, detail=_shortened(event.detail))
            case TopicsDead():
                say = self._first(self.logger.warning, "topics_dead", market)
                say("topics_dead", market=market, topics=event.topics, example=event.example)

    def _clocks(self, event: ClockMeasured | ClockSuspect) -> None:
        if isinstance(event, ClockSuspect):
            say = self._first(self.logger.warning, "clock_suspect", event.market)
            say("clock_suspect", market=event.market, skew_ms=round(event.skew_ms, 1), witness=event.witness.value)
            return
        measured = {"offset_ms": round(event.offset_ms, 1), "error_ms": round(event.error_ms, 1)}
        self.logger.info("clock_measured", market=event.market, **measured)

    def _tier(self, event: TierFailed | TierStateChanged) -> None:
        """Log changes of state and lost data; repeated faults are only counted."""
        if isinstance(event, TierStateChanged):
            say = self.logger.error if event.state == "down" else self.logger.info
            say("store_state", tier=event.tier, state=event.state, **_unless_empty("detail", _shortened(event.detail)))
        elif event.lost:
            say = self._first(self.logger.warning, "store_data_lost", event.tier)
            say("store_data_lost", tier=event.tier, detail=_shortened(event.detail))

    def _called(self, call: UpstreamCalled) -> None:
        say = self.logger.debug
        if read_failed(call.status, call.fault):
            say = self._first(self.logger.warning, "upstream_failed", call.market, str(call.status), call.fault)
        say(
            "upstream",
            market=call.market,
            path=call.path,
            reason=call.reason,
            lane=call.lane,
            status=call.status,
            weight=call.weight,
            seconds=round(call.seconds, 4),
            bytes=call.body_bytes,
            **({} if call.rows is None else {"rows": call.rows}),
            **_unless_empty("fault", call.fault),
        )

    def _first(self, say: Callable[..., object], event: str, *about: str) -> Callable[..., object]:
        """Count `event`; return `say` if it is the first of its kind since the last summary, else one at debug."""
        self._repeats[event] += 1
        if (event, *about) in self._told:
            return self.logger.debug
        self._told.add((event, *about))
        return say

    def _summarise(self, summary: Summary) -> None:
        asked = {name: value for name, value in asdict(summary.requests).items() if value is not None}
        self.logger.info(
            "summary",
            seconds=round(summary.seconds, 1),
            **asked,
            reads=summary.reads,
            reads_failed=summary.failed,
            weight=summary.weight,
            **_unless_empty("events", dict(self._repeats)),
        )
        self._told.clear()
        self._repeats.clear()


def _unless_empty(name: str, value: float | str | dict[str, int]) -> dict[str, object]:
    return {name: value} if value else {}


def _escape(_logger: object, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what is not printable: names come from clients and replies, and must make no lines of their own."""
    for name, value in fields.items():
        fields[name] = _printable(value)
    return fields


def _printable(value: object) -> object:
    if isinstance(value, str) and not value.isprintable():
        return repr(str(value))[1:-1]
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"


def _json(fields: object, **_: object) -> str:
    return msgspec.json.encode(fields).decode()
