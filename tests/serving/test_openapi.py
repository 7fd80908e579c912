"""The OpenAPI document says what is served: every path, and nothing else."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.serving import app
from mdcache.serving.errors import TABLE
from mdcache.serving.routes import NATIVE_PATHS, OPS_PATHS, ROUTES, STREAM_PATH, PathKind
from mdcache.serving.streams.paths import parse_stream_path
from tests.support.serving_harness import ServingHarness
from tools import openapi, openapi_operations, openapi_streams
from tools.openapi_schemas import RESPONSE_HEADERS

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads(openapi.text())
PATHS: dict[str, Any] = DOCUMENT["paths"]


def parameters(path: str) -> dict[str, Any]:
    return {each["name"]: each for each in PATHS[path]["get"]["parameters"] if each.get("in") == "query"}


def test_it_is_valid() -> None:
    validate(DOCUMENT)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    found = set(re.findall(r'"#/components/(\w+)/([\w-]+)"', openapi.text()))
    there = {(section, name) for section, names in DOCUMENT["components"].items() for name in names}
    assert found == there - {("securitySchemes", "adminToken")}


def test_every_served_path_is_described_and_every_described_one_served() -> None:
    tables = {*KLINE_ENDPOINTS, *ENDPOINTS, *OPS_PATHS, *(each.path for each in EXCHANGE_INFO_ENDPOINTS)}
    local = {path for path, found in ROUTES.items() if found.kind in {PathKind.TIME, PathKind.PING}}
    assert tables | local | {STREAM_PATH, *NATIVE_PATHS} == ROUTES.keys() == PATHS.keys() - set(openapi_streams.PATHS)


@pytest.mark.parametrize("path", openapi_streams.PATHS)
def test_the_handshakes_that_are_described_are_those_of_streams(path: str) -> None:
    given = {each["name"]: each["example"] for each in PATHS[path]["get"]["parameters"]}
    target = path.format(**given) + (f"?streams={given['streams']}" if "streams" in given else "")
    opened = parse_stream_path(target)
    assert opened is not None
    assert opened.combined is path.endswith("/stream")
    assert bool(opened.topics) is ("topics" in given or "streams" in given)
    assert set(PATHS[path]["get"]["responses"]) >= {"101", "403", "426", "503"}


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, found in PATHS.items():
        for method, operation in found.items():
            yield path, method, operation


def test_every_answer_in_json_has_an_example_that_its_schema_allows() -> None:
    """Captured ones: `make generate` writes them anew, and tests/house/test_generated.py sees when they are others."""
    lacking, checked = [], 0
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            named = response.get("$ref", "").removeprefix("#/components/responses/")
            found = DOCUMENT["components"]["responses"][named] if named else response
            for kind, body in found.get("content", {}).items():
                shown = [body["example"]] if "example" in body else []
                shown += [each["value"] for each in body.get("examples", {}).values()]
                if "json" in kind and status == "200" and not shown and path != "/openapi.json":
                    lacking.append(f"{method} {path}")
                for example in shown if "json" in kind else []:
                    OAS31Validator(body["schema"] | {"components": DOCUMENT["components"]}).validate(example)
                    checked += 1
    assert lacking == []
    assert checked > 500


def test_a_summary_says_what_the_path_does_not() -> None:
    for path, method, operation in operations():
        said = operation["summary"].partition(" (")[0]
        assert said.casefold() not in {"", path.rpartition("/")[2].casefold()}, (path, method)


@pytest.mark.parametrize("path", ["/api/v3/klines", "/fapi/v1/klines", "/v1/candles"])
def test_what_is_asked_for_first_asks_for_no_special_freshness(path: str) -> None:
    for each in PATHS[path]["get"]["parameters"]:
        found = DOCUMENT["components"]["parameters"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        if found["in"] == "header":
            assert next(iter(found.get("examples", {"": {"value": ""}}).values()))["value"] == ""


@pytest.mark.parametrize("path", sorted(OPS_PATHS))
async def test_the_operators_paths_take_the_method_they_are_described_with(path: str) -> None:
    for method in PATHS[path]:
        reply = await ServingHarness(token=None).ask(path, b"", method=method.upper())
        assert str(reply.status) in PATHS[path][method]["responses"]
    for other in {"get", "post", "delete", "put"} - PATHS[path].keys():
        assert (await ServingHarness(token=None).ask(path, b"", method=other.upper())).status == 405


def test_a_path_without_a_description_is_an_error() -> None:
    with pytest.raises(ValueError, match="described nowhere"):
        openapi_operations.operations("/v1/new")


@pytest.mark.processes
def test_it_is_the_same_in_every_process() -> None:
    command = [
        sys.executable,
        "-c",
        "from tools.openapi import text; print(text(), end='')",
    ]
    made = {
        subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT) for seed in ("1", "2")
    }
    assert made == {openapi.text().encode()}


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for item in PATHS.values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def test_kline_parameters() -> None:
    spot, coinm = parameters("/api/v3/klines"), parameters("/dapi/v1/continuousKlines")
    assert [name for name, each in spot.items() if each["required"]] == ["symbol", "interval"]
    assert [name for name, each in coinm.items() if each["required"]] == ["pair", "contractType", "interval"]
    assert "1s" in spot["interval"]["schema"]["enum"]
    assert "1s" not in coinm["interval"]["schema"]["enum"]
    assert spot["limit"]["schema"] == {"type": "integer", "default": 500, "minimum": 1}  # more is no error there
    assert coinm["limit"]["schema"] == {"type": "integer", "default": 500, "minimum": 1, "maximum": 1500}
    assert spot["timeZone"]["schema"]["default"] == "0"
    assert "timeZone" not in coinm
    assert coinm["contractType"]["schema"]["enum"] == ["PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"]


def test_a_list_of_symbols_is_json_in_the_query() -> None:
    schema = parameters("/api/v3/ticker")["symbols"]["content"]["application/json"]["schema"]
    assert (schema["type"], schema["maxItems"]) == ("array", 100)


def test_futures_depth_has_seven_sizes() -> None:
    assert parameters("/fapi/v1/depth")["limit"]["schema"]["enum"] == [5, 10, 20, 50, 100, 500, 1000]


def test_a_path_of_two_markets_takes_what_either_takes() -> None:
    found = parameters("/futures/data/openInterestHist")
    assert [name for name, each in found.items() if each["required"]] == ["period"]
    assert "USD-M only, required there" in found["symbol"]["description"]
    assert "COIN-M only, required there" in found["pair"]["description"]
    assert found["contractType"]["schema"]["enum"][0] == "ALL"
    assert parameters("/futures/data/basis")["pair"]["required"]


def test_statuses_and_codes_are_those_of_the_table() -> None:
    described = DOCUMENT["components"]["responses"]
    for shape in TABLE.values():
        response = described[f"Status{shape.status}"]
        assert shape.code in response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
        assert ("Retry-After" in response["headers"]) is shape.retry_after


def test_every_header_that_web_pages_may_read_is_described() -> None:
    assert set(app._EXPOSED) <= RESPONSE_HEADERS.keys()


async def test_it_is_served_with_a_tag() -> None:
    house = ServingHarness()
    reply = await house.ask("/openapi.json", b"")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.body.decode() == openapi.text()
    again = await house.ask("/openapi.json", b"", headers={"if-none-match": reply.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", reply.headers["etag"])
    assert (await house.ask("/openapi.json", b"", headers={"if-none-match": '"other"'})).status == 200
