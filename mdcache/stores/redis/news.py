"""News: one channel on which replicas tell each other what happened. Nothing relies on a message: it may be lost."""

from collections.abc import Callable

import msgspec

from mdcache.exchange.questions import SeriesKey
from mdcache.stores.redis.link import Link

_PURGED = b"!"
_COPIED = b"~"  # and the topic


class News:
    """The channel of all replicas under one prefix."""

    def __init__(self, link: Link) -> None:
        self.channel = f"{link.prefix}news"
        self._link = link
        self._told: Callable[[SeriesKey], None] = lambda _: None
        self._purged: Callable[[], None] = lambda: None
        self._copied: Callable[[str], None] = lambda _: None

    def hear(self, told: Callable[[SeriesKey], None]) -> None:
        """Have `told` called where a read that somebody waited for has ended."""
        self._told = told

    def hear_purges(self, purged: Callable[[], None]) -> None:
        """Have `purged` called where there was a purge, or one may have been missed."""
        self._purged = purged

    def hear_copies(self, copied: Callable[[str], None]) -> None:
        """Have `copied` called with the topic of a copy whose read, that somebody waited for, has ended."""
        self._copied = copied

    def start(self) -> None:
        """Listen from now on."""
        self._link.subscribe(self.channel, self._hear, self._perhaps_purged)

    def told(self, key: SeriesKey) -> bytes:
        """The message about a series."""
        return msgspec.json.encode(key)

    def copied(self, topic: str) -> bytes:
        """The message about a copy."""
        return _COPIED + topic.encode()

    @property
    def purged(self) -> bytes:
        """The message that there was a purge; which one stands in the list of them."""
        return _PURGED

    def _perhaps_purged(self) -> None:
        """Messages until now were lost."""
        self._purged()

    def _hear(self, message: bytes) -> None:
        if message == _PURGED:
            self._purged()
            return
        if message.startswith(_COPIED):
            self._copied(message[len(_COPIED) :].decode(errors="replace"))
            return
        try:
            key = msgspec.json.decode(message, type=SeriesKey)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # somebody else's: the poll behind every message does without it
        self._told(key)
