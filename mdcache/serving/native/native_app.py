"""The native API's answers, `/v1/…`: parse the request, choose the form, count the answer (docs/design.md#native)."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from mdcache.clock import Clock
from mdcache.errors import DeadlinePassed, MdcacheError, Refusal
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.exchange.endpoints import Endpoint, FlatWeight
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters
from mdcache.results import Result
from mdcache.serving.binance.handler import decode_query, error_result
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.errors import METHOD_NOT_ALLOWED, QUERY_TOO_LONG
from mdcache.serving.http.response_cycle import PARTS
from mdcache.serving.native.messages import Answer, NativeReply, NativeRequest, Streamed, TooLong
from mdcache.serving.ports import Recorder
from mdcache.serving.responses import (
    ALLOW,
    HttpResponse,
    Receive,
    Scope,
    Send,
    describe_error,
    failure_response,
    refusal_response,
)

_WHOLE_BYTES = 1 << 25  # that are made before they are sent
_TOO_LONG = "That is more than 32 MB, which is not sent by HTTP/1.0: ask by HTTP/1.1, or for less at once."
MAX_QUERY_BYTES = 32_768  # a thousand symbols, and the token that goes with them


class NativeApp:
    """ASGI application of the native API's answers.

    Args:
        answers: What answers each path, and the endpoint's name in metrics.
    """

    def __init__(
        self,
        answers: Mapping[str, tuple[str, Answer]],
        parser: RequestParser,
        clock: Clock,
        events: Events,
        recorder: Recorder,
    ) -> None:
        self._answers = answers
        self._parser = parser
        self._clock = clock
        self._events = events
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began_s = self._clock.now()
        endpoint, answer = self._answers[scope["path"]]
        market, client = "other", ""
        try:
            if (refused := _early_refusal(scope)) is not None:
                made = NativeReply(refused, Result.REFUSED)
            else:
                request = self._parse(scope, receive)
                client = request.client.client
                market = request.market
                made = await answer(request)
                if isinstance(made.reply, Streamed):
                    made = replace(made, reply=await _sent_as(scope, made.reply))
        except asyncio.CancelledError:  # only the server cancels, at the end of the drain
            made = NativeReply(failure_response(DeadlinePassed(1.0, "shutting down")), Result.ERROR)
        except MdcacheError as error:
            made = NativeReply(failure_response(error), error_result(error))
        except Exception as error:  # noqa: BLE001 - the last handler, or a client would see a traceback
            self._events.emit(BackgroundTaskFailed(BackgroundTask.REQUEST, describe_error(error)))
            made = NativeReply(failure_response(error), Result.ERROR)
        self._recorder.record(market, endpoint, made.result, client, began_s + made.waited_s, made.age_s)
        await made.reply.send(send, head_only=scope["method"] == "HEAD")

    def _parse(self, scope: Scope, receive: Receive) -> NativeRequest:
        query = decode_query(scope["query_string"])
        sent = read_parameters(query, {"market"}).get("market", "")
        market = Market(sent) if sent in set(Market) else Market.SPOT  # what is wrong is refused by whoever answers
        rule = Endpoint(market, scope["path"], FlatWeight(0))
        address = scope["client"][0] if scope.get("client") else None
        client = self._parser.parse(rule, scope["query_string"], scope["headers"], address)
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        last_id = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"").decode("latin-1")
        counted = market.value if sent else "other"
        return NativeRequest(scope["path"], query, accept, client, receive, counted, last_id)


async def _sent_as(scope: Scope, reply: Streamed) -> Streamed | HttpResponse:
    """Return an answer as the client and the server take it.

    HTTP/1.0 gets one that states its length: only so do its clients know that they have all of it.
    """
    if scope.get("http_version") != "1.0":
        return replace(reply, in_parts=PARTS in (scope.get("extensions") or {}))
    try:
        return await reply.joined(_WHOLE_BYTES)
    except TooLong as error:
        raise Refusal(400, -1130, _TOO_LONG) from error


def _early_refusal(scope: Scope) -> HttpResponse | None:
    """Return the answer to a request that is not handled further; `None` if it is."""
    if scope["method"] == "OPTIONS":
        return HttpResponse(204, (ALLOW,), b"")
    if scope["method"] not in {"GET", "HEAD"}:
        return refusal_response(*METHOD_NOT_ALLOWED, "Only GET is supported here.", ALLOW)
    if len(scope["query_string"]) > MAX_QUERY_BYTES:
        return refusal_response(*QUERY_TOO_LONG, f"The query is longer than {MAX_QUERY_BYTES} bytes.")
    return None
