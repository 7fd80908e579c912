"""Parse clients' messages on a stream connection, or refuse them (Binance's pages on Live Subscribing)."""

import json
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Market

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_NAME_AND_VALUE = 2
_BAD_JSON = '{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}'
_NOT_BOOLEAN = '{"code":1,"msg":"Invalid value type: expected Boolean"}'

MessageId = int | str | None


@dataclass(frozen=True, slots=True)
class TopicsMessage:
    """Subscribe to topics, or no longer."""

    id: MessageId
    method: Literal["SUBSCRIBE", "UNSUBSCRIBE"]
    topics: list[str]


@dataclass(frozen=True, slots=True)
class ListMessage:
    """Name the topics."""

    id: MessageId


@dataclass(frozen=True, slots=True)
class CombinedMessage:
    """Tell whether frames name their topic; `value`: decide it first."""

    id: MessageId
    value: bool | None


Message = TopicsMessage | ListMessage | CombinedMessage


def read_message(market: Market, text: str) -> Message | str:
    """Return what a client asks for, or the error that answers it."""
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        return _BAD_JSON
    if not isinstance(sent, dict):
        return refusal("invalid type, expected struct Request")
    number, method = sent.get("id"), sent.get("method")
    if not _is_id(market, number):
        return refusal("request ID must be an unsigned integer")
    if method not in _METHODS:
        named = ", ".join(f"`{one}`" for one in _METHODS)
        return refusal(f"unknown variant `{method}`, expected one of {named} at line 1 column 28")
    return ListMessage(number) if method == "LIST_SUBSCRIPTIONS" else _read(method, sent.get("params"), number)


def result(number: MessageId, value: object = None) -> str:
    """Print the answer to a message."""
    return json.dumps({"result": value, "id": number}, separators=(",", ":"))


def _read(method: str, params: object, number: MessageId) -> Message | str:
    if not isinstance(params, list) or not params:
        return refusal("params must be a list")
    if method in {"SUBSCRIBE", "UNSUBSCRIBE"}:
        texts = all(isinstance(one, str) for one in params)
        return TopicsMessage(number, method, params) if texts else refusal("streams must be texts")  # type: ignore[arg-type]  # it is one of the two
    if params[0] != "combined":
        return json.dumps({"code": 0, "msg": "Unknown property", "id": number}, separators=(",", ":"))
    if method == "GET_PROPERTY":
        return CombinedMessage(number, None)
    if len(params) != _NAME_AND_VALUE or not isinstance(params[1], bool):
        return _NOT_BOOLEAN
    return CombinedMessage(number, params[1])


def _is_id(market: Market, number: object) -> bool:
    """Return whether a message's id is one: spot also takes null and negative numbers.

    Texts are taken everywhere: Binance's own futures packages send nothing else.
    """
    if isinstance(number, int) and not isinstance(number, bool):
        return number >= 0 or market == "spot"
    return isinstance(number, str) or (number is None and market == "spot")


def refusal(why: str) -> str:
    """Print why a message is refused."""
    return json.dumps({"code": 2, "msg": f"Invalid request: {why}"}, separators=(",", ":"))
