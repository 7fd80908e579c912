"""Parse a listener's messages, or refuse them as Binance does (docs/binance.md#stream-messages). Pure."""

import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from mdcache.exchange.markets import Market
from mdcache.serving.streams.paths import is_listen_key, is_topic

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_COMBINED = "combined"
_INT64 = 2**63
_LONGEST_ID = 36

MessageId = int | str | None


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """Subscribe to topics, or no longer."""

    id: MessageId
    method: Literal["SUBSCRIBE", "UNSUBSCRIBE"]
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListRequest:
    """List the topics."""

    id: MessageId


@dataclass(frozen=True, slots=True)
class PropertyRequest:
    """Tell whether frames name their topic; `combined`: set it first."""

    id: MessageId
    combined: bool | None


Message = SubscriptionRequest | ListRequest | PropertyRequest


class MessageRefused(Exception):
    """The message is answered with an error; `body` is all of the answer."""

    def __init__(self, code: int, msg: str, **more: object) -> None:
        super().__init__(msg)
        self.body = _print({"code": code, "msg": msg, **more})


TOO_MANY_TOPICS = '{"error":{"code":4,"msg":"Too many subscriptions"}}'


def read_message(market: Market, text: str) -> Message:
    """Return what a listener asks for; raise `MessageRefused`."""
    try:
        sent = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise MessageRefused(3, "Invalid JSON: recursion limit exceeded at line 1 column 128") from None
    except ValueError as error:
        line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
        raise MessageRefused(3, f"Invalid JSON: expected value at line {line} column {column}") from None
    if not isinstance(sent, dict):
        raise _invalid("invalid type, expected struct Request")
    number, method, params = sent.get("id"), sent.get("method"), sent.get("params")
    if not _is_id(market, number):
        raise _invalid("request ID must be an unsigned integer")
    if "method" not in sent:
        raise _invalid(f"missing field `method` at line 1 column {len(text)}")
    match method:
        case "LIST_SUBSCRIPTIONS":
            return ListRequest(number)
        case "SUBSCRIBE" | "UNSUBSCRIBE":
            return SubscriptionRequest(number, method, _topics(params))
        case "SET_PROPERTY" | "GET_PROPERTY":
            return PropertyRequest(number, _property(method, params, number))
    named = ", ".join(f"`{one}`" for one in _METHODS)
    shown = method if isinstance(method, str) else json.dumps(method)
    column = text.find(shown) + len(shown) + 1
    raise _invalid(f"unknown variant `{shown}`, expected one of {named} at line 1 column {column}")


def result(number: MessageId, value: object = None) -> str:
    """Return the answer to a message."""
    return _print({"result": value, "id": number})


def error_message(code: int, msg: str) -> str:
    """Return an error that answers no message."""
    return _print({"code": code, "msg": msg})


def _topics(params: object) -> tuple[str, ...]:
    if not isinstance(params, list) or not params:
        raise _invalid("params must be a list")
    if not all(isinstance(one, str) for one in params):
        raise _invalid("streams must be texts")
    if any(is_listen_key(one) for one in params):
        raise _invalid("mdcache relays no account's stream: connect to Binance with a listenKey")
    if not all(is_topic(one) for one in params):
        raise _invalid("invalid stream")  # ccxt#19833: a name with spaces
    return tuple(params)


def _property(method: str, params: object, number: MessageId) -> bool | None:
    if not isinstance(params, list) or not params:
        raise _invalid("params must be a list")
    if not isinstance(params[0], str):
        raise _invalid("property name must be a string")
    if params[0] != _COMBINED:
        raise MessageRefused(0, "Unknown property", id=number)
    if method == "GET_PROPERTY":
        return None
    match params[1:]:
        case [bool(value)]:
            return value
        case _:
            raise MessageRefused(1, "Invalid value type: expected Boolean")


def _is_id(market: Market, number: object) -> bool:
    """Return whether a message's id is one: spot takes null and negative numbers, too."""
    if isinstance(number, int) and not isinstance(number, bool):
        return -_INT64 <= number < _INT64 if market is Market.SPOT else 0 <= number < 2 * _INT64
    return (isinstance(number, str) and len(number) <= _LONGEST_ID) or (number is None and market is Market.SPOT)


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _invalid(why: str) -> MessageRefused:
    return MessageRefused(2, f"Invalid request: {why}")


def _print(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
