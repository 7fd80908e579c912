"""Run one daemon from start to drain: log, signals, garbage collector, shutdown."""

import asyncio
import gc
import os
import random
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

import uvloop

from mdcache import __version__
from mdcache.clock import SystemClock
from mdcache.daemon.allocator import share_one_heap
from mdcache.daemon.build import build
from mdcache.daemon.build_upstream import origins
from mdcache.daemon.hang_ups import HangUps
from mdcache.events import BackgroundTask, BackgroundTaskFailed, DaemonServing, DaemonStopped, Events, SettingsIgnored
from mdcache.serving.http.server import listen, raise_file_limit, serve, url_on_this_machine
from mdcache.settings import ReloadOutcome, Settings
from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.telemetry.log import LogSink, adopt_library_logs, make_logger
from mdcache.telemetry.log_writer import NonBlockingWriter

_LOG_DRAIN_S = 1.0  # for the last log lines to be written
_STDERR = 2
_OTHER_FILES = 4_096  # beside listeners: clients that ask, connections to Binance, stores
_GC_THRESHOLDS = (10_000, 4, 500)  # to look through 10,000 objects takes up to 2 ms; a page makes 2,000, and no cycle
_SWITCH_INTERVAL_S = 0.0002  # after which a thread that parses or compresses lets the event loop go on; 5 ms otherwise


def run(settings: Settings, read: Callable[[], Settings]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: What to begin with.
        read: Reads them again, at each SIGHUP; raises `SettingsError`.

    Raises:
        OSError: The address is in use or not ours, or another daemon uses the state directory.
    """
    share_one_heap()
    _open_standard_streams()
    raise_file_limit(settings.listeners_max + _OTHER_FILES)
    writer = NonBlockingWriter(_STDERR)
    try:
        uvloop.run(_listen_and_run(settings, read, writer.as_text()))
    finally:
        writer.drain(_LOG_DRAIN_S)


def _open_standard_streams() -> None:
    """Open any standard stream that the parent process closed: otherwise a socket gets its number, and libuv aborts."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


async def _listen_and_run(settings: Settings, read: Callable[[], Settings], log: TextIO) -> None:
    """Take the port before anything else: of two daemons, it is the second one's first problem."""
    sockets = await listen(settings.host, settings.port)
    try:
        state_dir = open_state_dir(settings.state_dir)
        try:
            await _run(settings, read, sockets, state_dir, log)
        finally:
            state_dir.release()
    finally:
        for listening in sockets:
            listening.close()


async def _run(
    settings: Settings, read: Callable[[], Settings], sockets: list[socket.socket], state_dir: StateDir, log: TextIO
) -> None:
    clock = SystemClock()
    logger = make_logger(clock, settings.log_level, settings.log_format, log)
    library_logs, log_sink = adopt_library_logs(logger), LogSink(logger)
    events = Events(log_sink)
    daemon = build(settings, clock, random.Random(), events, state_dir=state_dir)
    if settings.ignored:
        events.emit(SettingsIgnored(settings.ignored))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _report_unhandled(events, context))

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    sys.modules.setdefault("numpy", None)  # type: ignore[arg-type] # see docs/native-api.md#arrow
    gc.collect()
    gc.freeze()  # what exists by now stays: no collection needs to scan it again
    gc.set_threshold(*_GC_THRESHOLDS)

    def apply(outcome: ReloadOutcome) -> None:
        daemon.targets.apply(outcome)
        log_sink.logger = make_logger(clock, outcome.settings.log_level, settings.log_format, log)
        library_logs.logger = log_sink.logger

    hang_ups = HangUps(lambda: daemon.live.reload(read, apply))
    hang_ups.listen()

    def ready(addresses: Sequence[str]) -> None:
        events.emit(
            DaemonServing(
                version=__version__,
                addresses=tuple(addresses),
                page=url_on_this_machine(addresses[0]),
                upstreams={market.value: url for market, url in origins(settings).items()},
                weight_share=settings.weight_share,
                state_dir=str(settings.state_dir.absolute()),
            )
        )

    try:
        await daemon.start()
        await serve(daemon.app, sockets, settings.shutdown_grace_s, ready, streams=daemon.handshakes)
    finally:
        await hang_ups.aclose()
        await daemon.aclose()
        events.emit(DaemonStopped())


def _report_unhandled(events: Events, context: Mapping[str, object]) -> None:
    """Report an exception that no code awaited, and continue."""
    error = context.get("exception")
    detail = f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}"
    events.emit(BackgroundTaskFailed(BackgroundTask.EVENT_LOOP, detail))
