"""Messages of the streams: what is sent, and what is received. Pure (docs/binance.md#stream-connections)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from mdcache.exchange.topics import wire_name
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.upstream.streams.limits import MESSAGE_BYTES

Method = Literal["SUBSCRIBE", "UNSUBSCRIBE"]
_SHUTDOWN = "serverShutdown"
_ENVELOPE = 64  # bytes of a message without its topics, and some


@dataclass(frozen=True, slots=True)
class TopicFrame:
    """A frame of a topic; `data`: what was sent for it."""

    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TopicList:
    """The answer to `LIST_SUBSCRIPTIONS`."""

    id: int
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A message of ours was accepted, which proves nothing about its topics."""

    id: int


@dataclass(frozen=True, slots=True)
class Complaint:
    """A message of ours was refused. `id`: its own, if the other side says it."""

    detail: str
    code: int = 0
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The other side will close the connection soon."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Nothing that we know. `topic`: of which it was a frame; empty: perhaps of any; `None`: of none."""

    topic: str | None


Received = TopicFrame | TopicList | Acknowledged | Complaint | Shutdown | Undecodable


class _Error(msgspec.Struct):
    code: int | None = None
    msg: str | None = None


class _Message(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    e: str | None = None
    id: int | None = None
    result: list[str] | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str | None = None


_decoder = msgspec.json.Decoder(_Message)
_MAX_TEXT = 200
_TRUNCATED = "Input data was truncated"  # so says msgspec of a text that is the beginning of JSON
_TOPIC = re.compile(rb'\s*\{\s*"stream"\s*:\s*"([^"\\]+)"')


def read_message(text: bytes | str) -> Received:
    """Return what a message says, in the combined form."""
    try:
        found = _decoder.decode(text)
    except msgspec.DecodeError as failed:
        return Undecodable(_topic_of(text) if str(failed) == _TRUNCATED else "")
    except UNDECODABLE:
        return Undecodable("")
    if found.stream is not None:
        if found.stream.startswith("!" + _SHUTDOWN):
            return Shutdown()
        data = bytes(found.data)
        return TopicFrame(found.stream, data) if data and _is_text(data) else Undecodable(found.stream)
    if found.e == _SHUTDOWN:
        return Shutdown()
    error = found.error or _Error(found.code, found.msg)
    if found.error is not None or error.code is not None:
        return Complaint((error.msg or str(error.code))[:_MAX_TEXT], error.code or 0, found.id)
    if found.id is not None:
        return Acknowledged(found.id) if found.result is None else TopicList(found.id, tuple(found.result))
    return Undecodable(None)  # frames have the name of their topic


def _topic_of(text: bytes | str) -> str:
    """Return the topic of a frame that was cut off; nothing if it has no name, or those of two frames."""
    data = text.encode(errors="replace") if isinstance(text, str) else text
    found = _TOPIC.match(data)
    return found[1].decode(errors="replace") if found is not None and data.count(b'"stream"') == 1 else ""


def _is_text(data: bytes) -> bool:
    """Return whether it is UTF-8: passed on in a text message, anything else would end the listeners' connections."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def topics_message(method: Method, topics: Iterable[str], number: int) -> str:
    """Return a message about topics; its `id` is what all markets accept, an unsigned integer."""
    return msgspec.json.encode({"method": method, "params": list(map(wire_name, topics)), "id": number}).decode()


def list_message(number: int) -> str:
    """Return the question for the topics that the other side knows."""
    return msgspec.json.encode({"method": "LIST_SUBSCRIPTIONS", "id": number}).decode()


def batch(topics: Iterable[str]) -> list[str]:
    """Return as many of the first topics as a message may have."""
    found: list[str] = []
    room = MESSAGE_BYTES - _ENVELOPE
    for topic in topics:
        room -= len(msgspec.json.encode(topic)) + 1
        if room < 0 and found:
            break
        found.append(topic)
    return found
