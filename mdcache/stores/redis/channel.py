"""The pub/sub channel for ended leases and purges. Any message may be lost; nothing relies on one."""

from collections.abc import Callable

import msgspec

from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.stores.redis.client import RedisClient

_PURGE_MESSAGE = b"!"
_BODY_PREFIX = b"~"  # and the topic


class Channel:
    """The channel of all replicas under one prefix."""

    def __init__(self, client: RedisClient) -> None:
        self.name = f"{client.prefix}news"
        self._client = client
        self._on_series: Callable[[SeriesKey], None] = lambda _: None
        self._on_purge: Callable[[], None] = lambda: None
        self._on_body: Callable[[str], None] = lambda _: None

    def on_series(self, callback: Callable[[SeriesKey], None]) -> None:
        """Call `callback` with the series when a read of it ends that a replica waits for."""
        self._on_series = callback

    def on_purge(self, callback: Callable[[], None]) -> None:
        """Call `callback` after a purge, and whenever one may have been missed."""
        self._on_purge = callback

    def on_body(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the topic of a body when a read of it ends that a replica waits for."""
        self._on_body = callback

    def start(self) -> None:
        """Start listening."""
        self._client.subscribe(self.name, self._receive, self._after_subscribe)

    def series_message(self, key: SeriesKey) -> bytes:
        """Return the message that a read of this series has ended."""
        return msgspec.json.encode(key)

    def body_message(self, topic: str) -> bytes:
        """Return the message that a read of this body has ended."""
        return _BODY_PREFIX + topic.encode()

    @property
    def purge_message(self) -> bytes:
        """The message that there was a purge; the purge log says which."""
        return _PURGE_MESSAGE

    def _after_subscribe(self) -> None:
        """Assume that there was a purge, because earlier messages were lost."""
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
        except UNDECODABLE:
            return  # not ours; a poll makes up for every lost message
        self._on_series(key)
