"""`mdcache warm`: has a running daemon read whole spans of series, or does it itself where none answers.

The daemon's folder decides who may: the daemon that works there, or this process with the folder's lock.
"""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict

import msgspec

from mdcache.cache.warming import UNDER_WAY, Order, Progress
from mdcache.clock import SystemClock
from mdcache.daemon import build
from mdcache.errors import MdcacheError
from mdcache.events import Events
from mdcache.local import NobodyThere, address, call
from mdcache.settings import Settings
from mdcache.stores.folder import claim

_PATH = "/v1/admin/warm"
_LOOK_S = 0.25  # how often the progress is looked at
_OK = 200

Show = Callable[[Progress], None]


async def warm(settings: Settings, order: Order, show: Show) -> Progress:
    """Do what `order` says, telling `show` how far it is; returns where it ended. Cancelled, it cancels the job.

    Raises `MdcacheError` where the daemon refuses or stops answering, or nothing can be kept; `FolderTaken` where
    another daemon has the folder, and answers elsewhere.
    """
    try:
        return await _through_daemon(settings, order, show)
    except NobodyThere:
        return await _by_itself(settings, order, show)


async def _through_daemon(settings: Settings, order: Order, show: Show) -> Progress:
    clock = SystemClock()
    found = await asyncio.to_thread(_call, settings, "POST", order)
    try:
        while True:
            show(found)
            if found.state not in UNDER_WAY:
                return found
            await clock.sleep(_LOOK_S)
            found = await asyncio.to_thread(_call, settings, "GET")
    except asyncio.CancelledError:
        with suppress(MdcacheError, NobodyThere):
            show(_call(settings, "DELETE"))
        raise
    except NobodyThere:
        raise MdcacheError("the daemon is gone; asked again, the job goes on where it stopped") from None


def _call(settings: Settings, method: str, order: Order | None = None) -> Progress:
    """Ask the daemon; raises `NobodyThere`, and `MdcacheError` with its words where it refuses."""
    status, content = call(settings, method, _PATH, None if order is None else json.dumps(asdict(order)))
    if status == _OK:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(content, type=Progress)
    raise MdcacheError(f"{address(settings)} answered {status}: {_words(content)}")


def _words(content: bytes) -> str:
    try:
        return str(json.loads(content)["msg"])
    except (ValueError, KeyError, TypeError):
        return "no mdcache, or one of another release"


async def _by_itself(settings: Settings, order: Order, show: Show) -> Progress:
    if not settings.persist or not settings.disk_max_mb:
        raise MdcacheError("nothing may rest (MDCACHE_PERSIST, MDCACHE_DISK_MAX_MB), and no daemon answers")
    folder = claim(settings.state_dir)
    try:
        if folder.trouble:
            raise MdcacheError(folder.trouble)
        clock = SystemClock()
        daemon = build(settings, clock, random.Random(), Events(), folder=folder)
        try:
            daemon.warming.start(order)
            while (found := daemon.warming.progress()).state in UNDER_WAY:
                show(found)
                await clock.sleep(_LOOK_S)
                _stop_at(daemon.state.troubles)
        finally:
            await daemon.aclose()
            show(daemon.warming.progress())
        _stop_at(daemon.state.troubles)
        return found
    finally:
        folder.release()


def _stop_at(troubles: tuple[str, ...]) -> None:
    """What is read into memory alone is gone with this process."""
    if troubles:
        raise MdcacheError("; ".join(troubles).removesuffix("; serving from memory"))
