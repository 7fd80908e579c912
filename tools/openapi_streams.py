"""The handshakes of streams in the OpenAPI document: each is a GET that is answered with 101 (docs/streams.md)."""

from http import HTTPStatus

from mdcache.serving.errors import NEEDS_KEY, UPGRADE_REQUIRED
from tools import openapi_schemas as schemas
from tools.openapi_schemas import Json, ref

_MARKETS = {"": "spot", "/usdm": "USD-M", "/coinm": "COIN-M"}
_ROUTES = {"/usdm": ["market", "public", "private"], "/coinm": ["market"]}
_FORMS = {"/ws": "Raw frames", "/ws/{topics}": "Raw frames of some topics", "/stream": "Combined frames"}
_TALK = (
    'Then JSON messages as at Binance: `{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}` is answered '
    '`{"result":null,"id":1}`; UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY likewise. '
    "Frames are Binance's, byte for byte. The page can't open it: use a WebSocket client."
)
_ADDRESSES = {
    f"{prefix}{route}{form}": (prefix, route, form)
    for prefix in _MARKETS
    for route in ("", *(["/{route}"] if prefix else []))
    for form in _FORMS
}
PATHS = tuple(_ADDRESSES)


def item(path: str) -> Json:
    """Return the operation of a stream's path."""
    prefix, route, form = _ADDRESSES[path]
    parameters = []
    if route:
        routes: Json = {"type": "string", "enum": _ROUTES[prefix]}
        said = "Which topics have frames: as at Binance. `private` never sends anything."
        parameters.append(_parameter("route", "path", said, routes, _ROUTES[prefix][0]))
    text: Json = {"type": "string"}
    topics = "btcusd_perp@kline_1m" if prefix == "/coinm" else "btcusdt@kline_1m"
    if "{topics}" in form:
        parameters.append(_parameter("topics", "path", "Topics, separated by `/`.", text, topics))
    if form == "/stream":
        parameters.append(_parameter("streams", "query", "Topics, separated by `/`.", text, topics))
    upgrade: Json = {"description": "The connection is a WebSocket from now on."}
    refusals = {
        "400": schemas.error("The address or the handshake is malformed.", (), schemas.UNCACHED),
        "403": schemas.error("A key's stream, or a page of a foreign origin.", [NEEDS_KEY[1]], schemas.UNCACHED),
        "404": schemas.error("No streams are relayed here.", (), schemas.UNCACHED),
        str(UPGRADE_REQUIRED[0]): schemas.error("No handshake came.", [UPGRADE_REQUIRED[1]], schemas.UNCACHED),
        "503": schemas.error(
            "So many listen already.", (), schemas.UNCACHED | {"Retry-After": ref("headers", "Retry-After")}
        ),
    }
    return {
        "summary": f"{_FORMS[form]}, {_MARKETS[prefix]} (WebSocket)",
        "description": _TALK,
        "parameters": parameters,
        "responses": {str(HTTPStatus.SWITCHING_PROTOCOLS.value): upgrade, **refusals},
    }


def _parameter(name: str, place: str, said: str, schema: Json, example: str) -> Json:
    needed = place == "path"
    return {"name": name, "in": place, "required": needed, "description": said, "schema": schema, "example": example}
