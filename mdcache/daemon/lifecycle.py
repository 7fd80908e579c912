"""Run one daemon from start to drain: log, signals, garbage collector, shutdown."""

import asyncio
import gc
import os
import random
from collections.abc import Mapping, Sequence
from typing import TextIO

import uvloop

from mdcache import __version__
from mdcache.clock import SystemClock
from mdcache.daemon.build import build
from mdcache.events import BackgroundTask, BackgroundTaskFailed, DaemonLifecycle, Events, SettingsIgnored
from mdcache.serving.http.server import serve
from mdcache.settings import Settings
from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.telemetry.log import LogSink, adopt_library_logs, make_logger
from mdcache.telemetry.log_writer import NonBlockingWriter

_LOG_DRAIN_S = 1.0  # for the last log lines to be written
_STDERR = 2
_GC_THRESHOLDS = (50_000, 20, 100)  # a page of 1,000 rows creates 13,000 short-lived objects and no cycle


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises:
        OSError: The address is in use or not ours, or another daemon uses the state directory.
    """
    _open_standard_streams()
    state_dir = open_state_dir(settings.state_dir)
    writer = NonBlockingWriter(_STDERR)
    try:
        uvloop.run(_run(settings, state_dir, writer.as_text()))
    finally:
        writer.drain(_LOG_DRAIN_S)
        state_dir.release()


def _open_standard_streams() -> None:
    """Open any standard stream that the parent process closed: otherwise a socket gets its number, and libuv aborts."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


async def _run(settings: Settings, state_dir: StateDir, log: TextIO) -> None:
    clock = SystemClock()
    logger = make_logger(clock, settings.log_level, settings.log_format, log)
    adopt_library_logs(logger)
    events = Events(LogSink(logger))
    daemon = build(settings, clock, random.Random(), events, state_dir=state_dir)
    if settings.ignored:
        events.emit(SettingsIgnored(settings.ignored))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _report_unhandled(events, context))

    gc.collect()
    gc.freeze()  # what exists by now stays: no collection needs to scan it again
    gc.set_threshold(*_GC_THRESHOLDS)

    def ready(addresses: Sequence[str]) -> None:
        events.emit(DaemonLifecycle("serving", f"mdcache {__version__} on " + ", ".join(addresses)))

    try:
        await daemon.start()
        await serve(daemon.app, settings.host, settings.port, settings.shutdown_grace_s, ready)
    finally:
        await daemon.aclose()
        events.emit(DaemonLifecycle("stopped", "drained"))


def _report_unhandled(events: Events, context: Mapping[str, object]) -> None:
    """Report an exception that no code awaited, and continue."""
    error = context.get("exception")
    detail = f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}"
    events.emit(BackgroundTaskFailed(BackgroundTask.EVENT_LOOP, detail))
