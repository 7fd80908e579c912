"""News: one channel on which replicas tell each other what happened. Nothing relies on a message: it may be lost."""

from collections.abc import Callable

import msgspec

from mdcache.exchange.klines import SeriesKey
from mdcache.stores.redis.client import RedisClient

_PURGE_MESSAGE = b"!"
_BODY_PREFIX = b"~"  # and the topic


class Channel:
    """The channel of all replicas under one prefix."""

    def __init__(self, link: RedisClient) -> None:
        self.name = f"{link.prefix}news"
        self._link = link
        self._on_series: Callable[[SeriesKey], None] = lambda _: None
        self._on_purge: Callable[[], None] = lambda: None
        self._on_body: Callable[[str], None] = lambda _: None

    def on_series(self, callback: Callable[[SeriesKey], None]) -> None:
        """Have `told` called where a read that somebody waited for has ended."""
        self._on_series = callback

    def on_purge(self, callback: Callable[[], None]) -> None:
        """Have `purged` called where there was a purge, or one may have been missed."""
        self._on_purge = callback

    def on_body(self, callback: Callable[[str], None]) -> None:
        """Have `copied` called with the topic of a copy whose read, that somebody waited for, has ended."""
        self._on_body = callback

    def start(self) -> None:
        """Listen from now on."""
        self._link.subscribe(self.name, self._receive, self._after_subscribe)

    def series_message(self, key: SeriesKey) -> bytes:
        """The message about a series."""
        return msgspec.json.encode(key)

    def body_message(self, topic: str) -> bytes:
        """The message about a copy."""
        return _BODY_PREFIX + topic.encode()

    @property
    def purge_message(self) -> bytes:
        """The message that there was a purge; which one stands in the list of them."""
        return _PURGE_MESSAGE

    def _after_subscribe(self) -> None:
        """Messages until now were lost."""
        self._on_purge()

    def _receive(self, message: bytes) -> None:
        if message == _PURGE_MESSAGE:
            self._on_purge()
            return
        if message.startswith(_BODY_PREFIX):
            self._on_body(message[len(_BODY_PREFIX) :].decode(errors="replace"))
            return
        try:
            key = msgspec.json.decode(message, type=SeriesKey)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # somebody else's: the poll behind every message does without it
        self._on_series(key)
