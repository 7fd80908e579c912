"""Render `/v1/status` for `mdcache status` on a terminal, once or live.

Every value is printed as text: no markup or control characters in it reach the terminal.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.tail_sources import TailSource
from mdcache.cli.console import add_row, new_table, printable
from mdcache.cli.daemon_client import DaemonNotRunning, address
from mdcache.cli.daemon_status import DaemonStatus, Health, decode_status, fetch_status
from mdcache.cli.profile_text import profile_line, profile_notes
from mdcache.cli.status_recent import other_upstreams, spenders, times
from mdcache.clock import Clock
from mdcache.errors import MdcacheError
from mdcache.serving.listener_status import ListenersStatus
from mdcache.serving.ops.activity import MINUTE_S, Note, ReasonCounts
from mdcache.serving.ops.series_list import SeriesLine
from mdcache.settings import Settings

_EVENTS = 8
_BAR = 24  # columns
_WIDE = 110  # columns
_READS_IN_WATCH, _LEAST_READS = 5, 2
_OTHER_CELLS, _OTHER_CELLS_WIDE = 37, 48  # columns of an event beside its text, at most
_BAR_LETTERS = " ▁▂▃▄▅▆▇█"
_SLOT_S = 5
_TENTHS_BELOW_S = 10
_HOUR_S, _DAY_S = 3_600, 86_400


async def watch_status(settings: Settings, console: Console, clock: Clock, every_s: float) -> None:
    """Refresh every `every_s` seconds until interrupted, also if no daemon answers."""
    with Live(console=console, screen=console.is_terminal, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(await asyncio.to_thread(_render_now, settings, console.size), refresh=True)
            await clock.sleep(every_s)


def _render_now(settings: Settings, size: ConsoleDimensions) -> RenderableType:
    try:
        state = decode_status(fetch_status(settings))
    except (MdcacheError, DaemonNotRunning) as error:
        return Text(f"mdcache at {address(settings)}: {printable(str(error))}", style="bold red")
    return render(state, address(settings), size.width, size.height - 1)


def render(state: DaemonStatus, where: str, width: int, height: int | None = None) -> RenderableType:
    """Render the rounded status, the most urgent part first.

    Args:
        state: the daemon's answer.
        where: the daemon's address.
        width: of the terminal, in columns; a narrow one gets fewer of them.
        height: of the terminal, if all of it must fit: the last events, the stores and streams without trouble are
            left out.
    """
    narrow = width < _WIDE
    troubles = [
        *other_upstreams(state.upstreams),
        *(Text(f"  {printable(each)}", style="red") for each in (*state.reasons, *state.degraded)),
    ]
    streams = [each for each in state.streams if height is None or _is_troubled(each)]
    listeners = [each for each in state.listeners if height is None and sum(each.listeners.values()) > 0]
    most = None if height is None else max(_LEAST_READS, _READS_IN_WATCH - len(streams) - bool(streams))
    calls = dict(islice(state.calls.items(), most))
    blocks: list[tuple[int, RenderableType]] = [
        (1 + len(troubles), Group(_head(state, where), *troubles)),
        (1 + len(state.families), _families(state, narrow=narrow)),
        (4, Group(_requests(state, None if narrow else width), _totals(state, narrow=narrow))),
    ]
    if calls:
        blocks.append((1 + len(calls), _calls(calls)))
    if height is None:
        listed = (("client", state.spenders.clients), ("series", state.spenders.series))
        blocks += [(1 + len(each), spenders(f"{name}, last 5 min", each)) for name, each in listed if each]
    if streams:
        blocks.append((1 + len(streams), _streams(streams, state.series.tails, narrow=narrow)))
    if listeners:
        blocks.append((1 + len(listeners), _listeners(listeners)))
    left = math.inf if height is None else height - sum(1 + lines for lines, _ in blocks)
    events = state.events[: int(min(_EVENTS, max(0, left - 1)))]
    if events:
        longest = None if height is None else max(1, width - (_OTHER_CELLS if narrow else _OTHER_CELLS_WIDE))
        blocks.append((1 + len(events), _events(events, longest, narrow=narrow)))
        left -= 2 + len(events)
    if state.profile is not None and height is None:
        notes = [profile_notes(state.profile)] if state.profile.notes or state.profile.refused else []
        blocks.append((1, Group(profile_line(state.profile), *notes)))
    if state.stores and left > len(state.stores):
        blocks.append((1 + len(state.stores), _stores(state.stores)))
    if state.series.listed:
        blocks.append((1 + len(state.series.listed), _series(state.series.listed)))
    parts: list[RenderableType] = []
    for _, block in blocks:
        parts += [Text(), block] if parts else [block]
    return Group(*parts) if height is None else _unwrapped(Group(*parts))


def _unwrapped(shown: Group) -> Group:
    """Return it with one line for each row, cut at the terminal's edge."""
    for part in shown.renderables:
        if isinstance(part, Group):
            _unwrapped(part)
        elif isinstance(part, Table):
            for column in part.columns:
                column.no_wrap, column.overflow = True, "ellipsis"
        elif isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"
    return shown


# ------------------------------------------------------------------------------------------ parts


def _head(state: DaemonStatus, where: str) -> Text:
    words, style = {
        Health.READY: ("ready", "bold green"),
        Health.DEGRADED: ("ready, but degraded", "bold yellow"),
    }.get(state.health, ("not ready", "bold red"))
    head = Text.assemble(("mdcache ", "bold"), f"{printable(state.version)} at {where}: ", (words, style))
    return head.append(f", up for {duration(state.uptime_s)}")


def _families(state: DaemonStatus, *, narrow: bool) -> Table:
    address = () if narrow else (">address", ">limit")
    weight = "this minute" if narrow else "weight this minute"
    table = new_table("family", "gate", weight, ">of allowed", *address, "last minute")
    for family in state.families:
        shut = family.gate_state != "open"
        gate = printable(family.gate_state) + (f" ({printable(family.gate_reason)})" if shut else "")
        gate += f", {duration(family.reopens_in_s)}" if family.reopens_in_s else ""
        weights = state.weights.get(family.family)
        of_address = (f"{family.address:,}", f"{family.limit:,}" + ("" if family.limit_known else " ?"))
        add_row(
            table,
            printable(family.family),
            Text(gate, style="red" if shut else "green"),
            _weight_bar(family.used, family.allowed, _BAR // 2 if narrow else _BAR),
            Text(f"{family.used:,} / {family.allowed:,}", "yellow" if family.short else ""),
            *(() if narrow else of_address),
            "" if weights is None else sparkline(weights.by_second[-MINUTE_S:]),
        )
    return table


def _weight_bar(used: int, allowed: int, length: int) -> Text:
    filled = min(length, round(length * used / allowed)) if allowed else 0
    return Text.assemble(("█" * filled, "blue"), ("░" * (length - filled), "dim"))


def sparkline(by_second: list[int]) -> str:
    """Draw weight in slots of five seconds, scaled to the highest."""
    slots = [sum(by_second[at : at + _SLOT_S]) for at in range(0, len(by_second), _SLOT_S)]
    top = max(slots, default=0) or 1
    return "".join(_BAR_LETTERS[-(-slot * (len(_BAR_LETTERS) - 1) // top)] for slot in slots)


def _requests(state: DaemonStatus, width: int | None) -> Table:
    """Return requests and shares; with a `width`, there is room for the numbers by result, too."""
    by_result = () if width is None else ("by result",)
    table = new_table("from clients", ">requests", ">hit ratio", ">marked", ">failed", *by_result)
    for name, counts, found in (
        ("last minute", state.requests_last_minute, state.shares.last_minute),
        ("since the start", state.requests, state.shares.total),
    ):
        results = Text(", ".join(f"{printable(result)} {count:,}" for result, count in counts.items() if count))
        if width is not None:
            results.truncate(width - _OTHER_CELLS_WIDE - 8, overflow="ellipsis")
        worrying = [Text(_share(part), "yellow" if part else "") for part in (found.marked, found.failed)]
        more = () if width is None else (results,)
        add_row(table, name, f"{found.requests:,}", _share(found.hit_ratio), *worrying, *more)
    return table


def _share(part: float | None) -> str:
    return "–" if part is None else f"{part:.1%}"


def _totals(state: DaemonStatus, *, narrow: bool) -> Text:
    text = f"{state.series.count:,} series, {state.series.rows:,} rows, {state.flights} reads under way"
    if state.streams:
        fed, tails = (sum(found) for found in zip(*map(_fed, state.series.tails.values()), strict=True))
        text += f", streams feed {fed:,} of {tails:,} tails"
    if listening := sum(sum(each.listeners.values()) for each in state.listeners):
        text += f", {listening:,} listeners"
    return Text(text if narrow else text + times(state.answers))


def _fed(tails: Mapping[str, int]) -> tuple[int, int]:
    """Return how many tails streams feed, and how many there are."""
    return tails.get(TailSource.STREAM, 0), sum(tails.values())


def _is_troubled(streams: StreamsStatus) -> bool:
    """Return whether streams do not bring what they should."""
    return sum(streams.topics.values()) > 0 and (not streams.connections or streams.dead > 0 or streams.retry_in_s > 0)


def _streams(streams: Iterable[StreamsStatus], tails: Mapping[str, Mapping[str, int]], *, narrow: bool) -> Table:
    more = () if narrow else (">connects/h", "last error")
    table = new_table("streams", ">connections", ">topics", ">silent", ">dead", ">tails fed", *more)
    for each in streams:
        fed, of_all = _fed(tails.get(each.market, {}))
        error = Text(printable(each.last_error), "yellow" if each.retry_in_s else "")
        add_row(
            table,
            printable(each.market),
            Text(f"{each.connections:,}", "" if each.connections or not sum(each.topics.values()) else "yellow"),
            f"{sum(each.topics.values()):,}",
            f"{each.topics.get('silent', 0):,}",
            Text(f"{each.dead:,}", "yellow" if each.dead else ""),
            f"{fed:,} of {of_all:,}",
            *(() if narrow else (f"{each.connects_last_hour:,}", error)),
        )
    return table


def _listeners(listeners: Iterable[ListenersStatus]) -> Table:
    table = new_table(
        "listeners",
        ">websockets",
        ">topics",
        ">frames sent",
        ">closed",
        ">to events",
        ">series",
        ">events sent",
        ">waiting",
    )
    for each in listeners:
        closed = Text(f"{sum(each.closed.values()):,}", "yellow" if each.closed.get("slow") else "")
        sockets, events = each.listeners.get("websocket", 0), each.listeners.get("events", 0)
        before = (f"{number:,}" for number in (sockets, each.topics, each.frames))
        after = (
            f"{number:,}" for number in (events, each.series, sum(each.events.values()), each.listeners.get("wait", 0))
        )
        add_row(table, printable(each.market), *before, closed, *after)
    return table


def _calls(calls: Mapping[str, ReasonCounts]) -> Table:
    table = new_table("reads from Binance", ">last minute", ">weight", ">failed", ">since the start")
    for reason, found in calls.items():
        numbers = (found.minute.calls, found.minute.weight, found.minute.failed, found.total.calls)
        add_row(table, printable(reason), *(f"{number:,}" for number in numbers))
    return table


def _events(events: Iterable[Note], longest: int | None, *, narrow: bool) -> Table:
    table = new_table("UTC", "where", "what", "kind", ">times")
    for note in events:
        form = "%H:%M:%S" if narrow else "%Y-%m-%d %H:%M:%S"
        moment = datetime.fromtimestamp(note.at_ms / 1000, UTC).strftime(form)
        what = Text(printable(note.what), "yellow" if note.level == "warning" else "")
        if longest is not None:
            what.truncate(longest, overflow="ellipsis")
        add_row(
            table,
            moment,
            printable(note.where),
            what,
            printable(note.kind),
            str(note.count),
        )
    return table


def _stores(stores: Mapping[str, Mapping[str, Any]]) -> Table:
    table = new_table("store", "")
    for store, facts in stores.items():
        add_row(
            table,
            printable(store),
            ", ".join(f"{printable(name)} {value}" for name, value in _flatten(facts)) or "none",
        )
    return table


def _flatten(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{name}.")
        elif value not in ("", None):
            yield before + name, f"{value:,}" if type(value) in {int, float} else printable(value)


def _series(listed: Iterable[SeriesLine]) -> Table:
    table = new_table("symbol", "market", "interval", "kind", ">rows", ">age", "source", ">holes")
    for line in sorted(listed, key=lambda line: (line.symbol, line.market, line.interval)):
        add_row(
            table,
            printable(f"{line.symbol} {line.contract_type}".strip()),
            printable(line.market),
            printable(line.interval) + (f" {line.zone_minutes:+d}min" if line.zone_minutes else ""),
            printable(line.kind),
            f"{line.rows:,}",
            "–" if line.age_s is None else duration(line.age_s),
            printable(line.source or ("stored" if line.resting else "–")),
            f"{line.holes:,}",
        )
    return table


def duration(seconds: float) -> str:
    """Format seconds for people."""
    if seconds < _TENTHS_BELOW_S:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < MINUTE_S:
        return f"{rounded} s"
    if rounded < _HOUR_S:
        return f"{rounded // MINUTE_S}:{rounded % MINUTE_S:02} min"
    if rounded < _DAY_S:
        return f"{rounded // _HOUR_S}:{rounded % _HOUR_S // 60:02} h"
    return f"{rounded // _DAY_S} d {rounded % _DAY_S // _HOUR_S} h"
