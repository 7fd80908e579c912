"""The one connection to Redis that everything else uses: a client behind a circuit breaker.

Redis may be absent, frozen, slow, full, read-only or locked: a call then fails within the time-out, and once the
breaker has opened, all calls fail at once until a background probe finds that Redis accepts writes again. This module
does not know what is stored.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn, TypeVar

from redis import exceptions as foreign

from mdcache.background_work import cancel_all, supervise
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged, TierUsed
from mdcache.stores.redis import url
from mdcache.stores.redis.breaker import Breaker, Outcome, outcome_of
from mdcache.stores.redis.scan import escape_glob, nodes, scan_page
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.subscription import PubSubChannel
from mdcache.stores.redis.url import ForeignClient
from mdcache.stores.redis.workarounds import cancellable, uvloop_understood

# A time-out that took far longer than its limit is this process's fault: it was suspended, not Redis.
#
# A probe connects (which may take longer than a call, to discover a cluster or ask a Sentinel), then writes a key by a
# script, within the time-out of a call: otherwise a client without that permission would be used again
# and again. Each time the breaker closes, a new client is made, so that no old connection is used again.

TIER = Tier.REDIS
FORMAT = "v2:"  # the start of all our keys, after the prefix; it names the format
_OLDER_FORMATS = ("v1:",)
_PROBE_EACH_S = 1.0
_CONNECT_S = 1.0
_PROBE_KEY_MS = 60_000
_SUSPENDED_S = 1.0  # beyond the time-out
_MAX_CONCURRENT = 64
_MAX_DETAIL = 200  # characters
_ERRORS = (foreign.RedisError, foreign.RedisClusterException, OSError)  # a TimeoutError is an OSError

_T = TypeVar("_T")


class RedisDown(Exception):
    """Redis can't be asked now, or the call failed; the message is for people and contains no secret."""


class RedisRefused(RedisDown):
    """Only this command was refused (a wrong type, say); others may succeed."""


class RedisClient:
    """One Redis.

    Args:
        connect: makes a redis-py client, not connected yet.
        prefix: begins every key.
        timeout_s: seconds after which a call has failed.
        clock: measures probes and time-outs.
        events: receives uses, failures and the breaker's changes.
        topology: how many servers there are, for the status.
    """

    def __init__(
        self,
        connect: Callable[[], ForeignClient],
        *,
        prefix: str,
        timeout_s: float,
        clock: Clock,
        events: Events,
        topology: str = "",
    ) -> None:
        self.prefix = prefix + FORMAT
        self._older_prefixes = tuple(prefix + older for older in _OLDER_FORMATS)
        self.trouble = "not reached yet"
        self._connect = connect
        self._timeout_s = timeout_s
        self._clock = clock
        self._events = events
        self._topology = topology
        self._client: ForeignClient = None
        self._breaker = Breaker()
        self._probe_script = load("probe")
        self._round_trips = 0
        self._failures = 0
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._opened = asyncio.Event()
        self._moved = asyncio.Event()
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """Whether calls are allowed."""
        return self._breaker.closed and not self._ended

    def status(self) -> dict[str, object]:
        """Return what `/v1/status` shows."""
        return {
            "state": "ok" if self.up else "down",
            "detail": self.trouble,
            "form": self._topology,
            "round_trips": self._round_trips,
            "failures": self._failures,
        }

    async def start(self) -> None:
        """Try to connect, for little more than a second; if that fails, keep trying in the background."""
        self._client = self._connect()
        await self._probe()
        if not self.up:
            self._events.emit(TierStateChanged(TIER, "down", self.trouble))
            self._opened.set()
        else:
            await self._report_older_formats()
        self._keep(supervise(BackgroundTask.REDIS_PROBE, self._probe_forever, self._clock, self._events))

    async def aclose(self) -> None:
        """End the probe, the subscriptions and the connections."""
        self._ended = True
        self.trouble = "the daemon is stopping"
        await cancel_all(*self._tasks)
        if self._client is not None:
            await self._close(url.close(self._client))

    async def call(self, op: StoreOp, work: Callable[[ForeignClient], Awaitable[_T]]) -> _T:
        """Run `work` on Redis, within the time-out.

        Args:
            op: a metrics label.
            work: sends its commands through the client it is given.

        Returns:
            What `work` returns.

        Raises:
            RedisRefused: only this was refused.
            RedisDown: anything else failed; raised at once while the breaker is open. Redis may still execute what
                `work` sent before a time-out, even much later.
        """
        if not self.up:
            raise RedisDown(self.trouble)
        client, began_s, waiting = self._client, self._clock.now(), True
        self._round_trips += 1
        try:
            with cancellable():
                async with asyncio.timeout(self._timeout_s), self._slots:
                    waiting = False
                    with uvloop_understood():
                        result = await work(client)
        except TimeoutError:
            if waiting:  # by other calls, which report their outcomes themselves
                raise RedisDown("too many calls at once") from None
            self._fail_late(client, op, f"no answer within {self._timeout_s:g} s", began_s)
        except foreign.TimeoutError as error:
            self._fail_late(client, op, _text(error), began_s)
        except _ERRORS as error:
            self._fail(client, op, outcome_of(error), _text(error))
        finally:
            self._events.emit(TierUsed(TIER, op, self._clock.now() - began_s))
        if client is self._client:
            self._step(Outcome.DONE, "")
        return result

    async def scan(self, beginning: str, pattern: bytes) -> AsyncIterator[bytes]:
        """Yield all keys with this prefix followed by a match of the pattern, on every node of a cluster, page by page.

        Raises:
            RedisDown: some keys could not be listed.
        """
        glob = escape_glob(beginning) + pattern
        for node in await self.call(StoreOp.SCAN, nodes):
            cursor = 0
            while True:
                cursor, keys = await self.call(StoreOp.SCAN, partial(scan_page, node=node, cursor=cursor, pattern=glob))
                for key in keys:
                    yield key
                if not cursor:
                    break

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        on_subscribed: Callable[[], None] = lambda: None,
        on_ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `on_message` with each message on `channel`, for ever; subscribe again whenever needed.

        `on_subscribed` is called after each subscription: messages before it are lost; `on_ended` when one has ended.
        May be called before `start`.
        """
        subscription = PubSubChannel(channel, on_message, on_subscribed, on_ended)
        self._keep(asyncio.create_task(self._listen_forever(subscription), name=f"subscription to {channel}"))

    # -------------------------------------------------------------------------------- the breaker

    def _fail_late(self, client: ForeignClient, op: StoreOp, detail: str, began_s: float) -> NoReturn:
        if self._clock.now() - began_s > self._timeout_s + _SUSPENDED_S:
            self._report(op, detail)
            raise RedisDown("this process was suspended")
        self._fail(client, op, Outcome.LOST, detail)

    def _fail(self, client: ForeignClient, op: StoreOp, outcome: Outcome, detail: str) -> NoReturn:
        self._report(op, detail)
        if outcome is Outcome.REJECTED:
            raise RedisRefused(detail)
        if client is self._client:
            self._step(outcome, detail)
        raise RedisDown(detail)

    def _report(self, op: StoreOp, detail: str) -> None:
        self._failures += 1
        self._events.emit(TierFailed(TIER, op, detail, lost=False))

    def _step(self, outcome: Outcome, detail: str) -> None:
        before, self._breaker = self._breaker, self._breaker.step(outcome, self._clock.now())
        if before.closed == self._breaker.closed:
            return
        if before.closed:
            old, self._client = self._client, self._connect()
            self._keep(asyncio.create_task(self._close(url.close(old)), name="end of a client of redis"))
            self._opened.set()
        self.trouble = detail
        self._moved.set()
        self._moved = asyncio.Event()
        self._events.emit(TierStateChanged(TIER, "down" if before.closed else "ok", detail))

    async def _probe_forever(self) -> None:
        while True:
            await self._opened.wait()
            await self._clock.sleep(_PROBE_EACH_S)
            await self._probe()
            if self.up:
                self._opened.clear()

    async def _probe(self) -> None:
        client, key = self._client, f"{self.prefix}probe"
        try:
            with uvloop_understood():
                async with asyncio.timeout(_CONNECT_S):
                    await client.ping()
                async with asyncio.timeout(self._timeout_s):
                    await self._probe_script.run(client, [key], [_PROBE_KEY_MS])
        except _ERRORS as error:
            self.trouble = _text(error) if str(error) else "no answer"
            self._step(Outcome.PROBE_LOST, self.trouble)
        else:
            self._step(Outcome.PROBE_DONE, "")

    # -------------------------------------------------------------------------------------- parts

    async def _report_older_formats(self) -> None:
        """Report keys of earlier releases, once; they are never read, and expire."""
        with suppress(*_ERRORS), uvloop_understood():  # calls will report it
            async with asyncio.timeout(self._timeout_s):
                node, *_ = await nodes(self._client)
                for prefix in self._older_prefixes:
                    _, keys = await scan_page(self._client, node, 0, escape_glob(prefix) + b"*")
                    if keys:
                        detail = f"keys of an earlier release ({prefix}…) are not read, and expire by themselves"
                        self._events.emit(TierFailed(TIER, StoreOp.SCAN, detail, lost=True))

    async def _listen_forever(self, subscription: PubSubChannel) -> None:
        while True:
            moved = self._moved
            if not self.up:
                await moved.wait()
                continue
            listener = asyncio.create_task(self._listen(subscription), name=f"listener to {subscription.channel}")
            waiter = asyncio.create_task(moved.wait())
            try:
                await asyncio.wait({listener, waiter}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_all(listener, waiter)
            error = None if listener.cancelled() else listener.exception()
            if error is not None:  # an error of the subscriber must not end the subscription
                detail = f"{subscription.channel}: {type(error).__name__}: {error}"
                self._events.emit(BackgroundTaskFailed(BackgroundTask.SUBSCRIPTION, detail))
            await self._clock.sleep(_PROBE_EACH_S)

    async def _listen(self, subscription: PubSubChannel) -> None:
        pubsub = self._client.pubsub()
        try:
            with uvloop_understood():
                await subscription.listen(pubsub)
        except _ERRORS as error:
            self._report(StoreOp.SUBSCRIBE, _text(error))
        finally:
            await self._close(pubsub.aclose())

    async def _close(self, closing: Awaitable[None]) -> None:
        """Await `closing`; leave what can't be closed properly to the operating system."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                with uvloop_understood():
                    await closing
        except _ERRORS as error:
            self._report(StoreOp.CLOSE, _text(error))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MAX_DETAIL]
