"""A frame on its way to listeners, with the messages that all of them share. Pure."""

from dataclasses import dataclass, field

import msgspec

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import wire_name

_TEXT_FRAME = 0x81  # final, opcode text: RFC 6455, section 5.2
_SHORT, _MEDIUM = 126, 1 << 16


@dataclass(eq=False, slots=True)
class RelayedFrame:
    """A frame of a topic. `data`: as the exchange sent it; `final`: it is the last one of a candle."""

    market: Market
    topic: str
    data: bytes
    final: bool = False
    _raw: bytes | None = field(default=None, init=False)
    _combined: bytes | None = field(default=None, init=False)

    def raw_message(self) -> bytes:
        """Return the whole WebSocket message of a raw connection, made once for all listeners."""
        if self._raw is None:
            self._raw = text_message(self.data)
        return self._raw

    def combined_message(self) -> bytes:
        """Return the whole WebSocket message of a combined connection, made once for all listeners."""
        if self._combined is None:
            name = msgspec.json.encode(wire_name(self.topic))
            self._combined = text_message(b'{"stream":%b,"data":%b}' % (name, self.data))
        return self._combined


def text_message(payload: bytes) -> bytes:
    """Return an unmasked text message, as servers send it."""
    size = len(payload)
    if size < _SHORT:
        return bytes((_TEXT_FRAME, size)) + payload
    if size < _MEDIUM:
        return bytes((_TEXT_FRAME, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT_FRAME, 127)) + size.to_bytes(8, "big") + payload
