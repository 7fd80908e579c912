"""The daemon against its own description: schemathesis asks every path of real processes, rightly and wrongly.

The simulated exchange has so much weight to give that nothing is refused for want of it.
"""

import json
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks

from mdcache.serving.routes import STREAM_PATH
from tests.support.processes import daemon, free_port, running
from tools import openapi_streams
from tools.openapi import text

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

EXAMPLES = 10
RICH_SIM = """
import sys
from mdcache.sim.config import SimConfig
from mdcache.sim.server import serve
rich = SimConfig(spot_limit=10**6, futures_limit=10**6, funding_limit=10**6, statistics_limit=10**6)
serve(rich, "127.0.0.1", int(sys.argv[1]))
"""
UNAVAILABLE = [502, 503, 504]  # documented; any other 5xx is a fault
UNREAD = -1104  # spot: a parameter that the path does not know
PLAIN = {
    "connection",
    "content-length",
    "content-type",
    "date",
    "server",
    "transfer-encoding",
}  # every answer may have these

ANSWERS = ["2xx", "3xx", "4xx", *UNAVAILABLE]
schema = schemathesis.openapi.from_dict(
    json.loads(text()),
    config=schemathesis.Config.from_dict(
        {
            "seed": 1,
            "checks": {"not_a_server_error": {"expected-statuses": ANSWERS}},
        }
    ),
).exclude(path=[STREAM_PATH, *openapi_streams.PATHS])  # their answers don't end
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
KNOWN = {
    "/api/v3/": ("BTCUSDT", "ETHUSDT"),
    "/fapi/": ("BTCUSDT", "ETHUSDT"),
    "/dapi/": ("BTCUSD_PERP", "ETHUSD_PERP"),
    "/futures/": ("BTCUSDT", "ETHUSDT"),
}


@schema.hook
def map_query(context: schemathesis.HookContext, query: dict[str, Any]) -> dict[str, Any]:
    """Most questions are about names that are listed, or nothing but refusals of names would be seen."""
    if not query or context.operation is None:
        return query
    path = context.operation.path
    names = next((names for prefix, names in KNOWN.items() if path.startswith(prefix)), ())
    for parameter, value in query.items():
        if names and isinstance(value, str) and len(value) % 4:
            name = names[len(value) % len(names)]
            if parameter == "symbol":
                query[parameter] = name
            elif parameter == "pair":
                query[parameter] = name.removesuffix("_PERP")
    return query


def exactly_as_described(_: checks.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]) -> None:
    """What the described ranges leave open: no status out of `4XX`, no other header, no parameter that goes unread."""
    if case.method.upper() != case.operation.method.upper():
        return  # another method, to see how it is refused
    described = case.operation.definition.raw["responses"]
    assert str(response.status_code) in described
    found = described[str(response.status_code)]
    if "$ref" in found:
        found = schema.raw_schema["components"]["responses"][found["$ref"].rpartition("/")[2]]
    assert response.headers.keys() <= PLAIN | {name.lower() for name in found.get("headers", {})}
    if (
        case.meta is not None
        and case.meta.generation.mode.is_positive
        and response.status_code == HTTPStatus.BAD_REQUEST
    ):
        assert json.loads(response.content)["code"] != UNREAD


CHECKS.append(exactly_as_described)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    with (
        running([sys.executable, "-c", RICH_SIM, str(port)], f"{upstream}/_sim/"),
        daemon(upstream, weight_share="0.9", request_deadline_s="4", clients='{"engine":"high"}') as (url, _),
    ):
        yield url


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: schemathesis.Case[Any], base: str) -> None:
    response = case.call(base_url=base)
    case.validate_response(response, checks=CHECKS)
