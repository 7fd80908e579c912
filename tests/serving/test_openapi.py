"""The OpenAPI document says what is served: every path, and nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.serving import app
from mdcache.serving.errors import TABLE
from mdcache.serving.routes import NATIVE_PATHS, OPS_PATHS, ROUTES, STREAM_PATH, PathKind, route
from tests.support.asgi_client import ServingHarness
from tools import openapi
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
    assert PATHS.keys() == tables | local | {STREAM_PATH, *NATIVE_PATHS} == ROUTES.keys()
    assert all(route(path).kind is not PathKind.UNKNOWN for path in PATHS)


@pytest.mark.parametrize("path", sorted(OPS_PATHS))
async def test_the_operators_paths_take_the_method_they_are_described_with(path: str) -> None:
    for method in PATHS[path]:
        reply = await ServingHarness(token=None).ask(path, b"", method=method.upper())
        assert str(reply.status) in PATHS[path][method]["responses"]
    for other in {"get", "post", "delete", "put"} - PATHS[path].keys():
        assert (await ServingHarness(token=None).ask(path, b"", method=other.upper())).status == 405


def test_a_path_without_a_description_is_an_error() -> None:
    with pytest.raises(ValueError, match="described nowhere"):
        openapi._operation("/v1/new")


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
