"""Have the running daemon read whole spans of series, or do it in this process if no daemon answers.

Only one process may write to the state directory: the daemon, or this one with the directory's lock.
"""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial

from mdcache.cache.job import UNFINISHED_STATES
from mdcache.cache.warmup import WarmupProgress, WarmupRequest
from mdcache.cli.daemon_client import DaemonNotRunning, job_request
from mdcache.clock import SystemClock
from mdcache.daemon.build import build
from mdcache.errors import MdcacheError
from mdcache.events import Events
from mdcache.settings import Settings
from mdcache.stores.disk.state_dir import open_state_dir

_PATH = "/v1/admin/warm"
_POLL_S = 0.25  # how often the progress is checked

OnProgress = Callable[[WarmupProgress], None]


async def run_warm_job(settings: Settings, job: WarmupRequest, on_progress: OnProgress) -> WarmupProgress:
    """Run `order`, calling `show` with the progress; return the final progress. If cancelled, it cancels the job.

    Raises `MdcacheError` if the daemon refuses or stops answering, or nothing can be stored; `StateDirLocked` if
    another daemon uses the state directory, at another address.
    """
    try:
        return await _through_daemon(settings, job, on_progress)
    except DaemonNotRunning:
        return await _in_this_process(settings, job, on_progress)


async def _through_daemon(settings: Settings, order: WarmupRequest, show: OnProgress) -> WarmupProgress:
    clock = SystemClock()
    ask = partial(job_request, settings, path=_PATH, kind=WarmupProgress)
    found = await asyncio.to_thread(ask, "POST", body=json.dumps(asdict(order)))
    try:
        while True:
            show(found)
            if found.state not in UNFINISHED_STATES:
                return found
            await clock.sleep(_POLL_S)
            found = await asyncio.to_thread(ask, "GET")
    except asyncio.CancelledError:
        with suppress(MdcacheError, DaemonNotRunning):
            show(ask("DELETE"))
        raise
    except DaemonNotRunning:
        raise MdcacheError("the daemon is gone; if run again, the job continues where it stopped") from None


async def _in_this_process(settings: Settings, order: WarmupRequest, show: OnProgress) -> WarmupProgress:
    if not settings.persist or not settings.disk_max_mb:
        raise MdcacheError(
            "no daemon is running and persistence is off (MDCACHE_PERSIST, MDCACHE_DISK_MAX_MB): nothing would be kept"
        )
    state_dir = open_state_dir(settings.state_dir)
    try:
        if state_dir.trouble:
            raise MdcacheError(state_dir.trouble)
        clock = SystemClock()
        daemon = build(settings, clock, random.Random(), Events(), state_dir=state_dir)
        try:
            daemon.cache.warmup.start(order)
            while (found := daemon.cache.warmup.progress()).state in UNFINISHED_STATES:
                show(found)
                await clock.sleep(_POLL_S)
                _raise_on_troubles(daemon.state.troubles)
        finally:
            await daemon.aclose()
            show(daemon.cache.warmup.progress())
        _raise_on_troubles(daemon.state.troubles)
        return found
    finally:
        state_dir.release()


def _raise_on_troubles(troubles: tuple[str, ...]) -> None:
    """Raise if nothing can be stored: rows only in memory would be lost with this process."""
    if troubles:
        raise MdcacheError("; ".join(troubles).removesuffix("; serving from memory"))
