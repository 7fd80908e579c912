"""A dump host with every fault: each ends soon, and none is retried without end."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import IO

import httpx
import pytest

from mdcache.dumps.faults import DumpFileFault, DumpsUnavailable, DumpUnusable
from mdcache.dumps.files import DumpFile
from mdcache.dumps.sources import open_source
from mdcache.dumps.zip_reader import read_lines
from mdcache.exchange.markets import Market
from tests.support.dump_folder import zipped
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual

FILE = DumpFile(Market.SPOT, "币安人生USDT", "1d", date(2024, 1, 1), daily=False)
BODY = zipped(FILE.name, [b"1,2,3", b"4,5,6"])
Answer = Callable[[httpx.Request, int], httpx.Response]


def checksum(body: bytes, name: str = FILE.name) -> bytes:
    return f"{hashlib.sha256(body).hexdigest()}  {name}\n".encode()


class Host:
    """Answers by what it is given: of the file, and of its checksum, by the number of the request for it."""

    def __init__(self, file: Answer, told: Answer = lambda _, _n: httpx.Response(200, content=checksum(BODY))) -> None:
        self.paths: list[str] = []
        self._file, self._told = file, told
        self.clock = VirtualClock()
        self.source = open_source("http://dumps.test/base/", self.clock, httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.paths.append(path)
        answer = self._told if path.endswith(".CHECKSUM") else self._file
        return answer(request, self.paths.count(path))


def whole(_: httpx.Request, _number: int) -> httpx.Response:
    return httpx.Response(200, content=BODY)


async def test_a_file_is_fetched_and_read() -> None:
    host = Host(whole)
    with await host.source.open(FILE) as stream:
        assert b"\n".join(read_lines(stream, FILE)) == b"1,2,3\n4,5,6"
    assert host.paths == [f"/base/{FILE.path}.CHECKSUM", f"/base/{FILE.path}"]
    assert await host.source.size(FILE) == len(BODY)
    await host.source.aclose()


async def test_a_file_that_is_issued_again_meanwhile_is_fetched_once_more() -> None:
    older = zipped(FILE.name, [b"1,2,4"])
    host = Host(whole, lambda _, number: httpx.Response(200, content=checksum(older if number == 1 else BODY)))
    (await host.source.open(FILE)).close()
    assert len(host.paths) == 4


async def test_a_stale_checksum_is_believed_after_the_second_look() -> None:
    host = Host(whole, lambda _, _n: httpx.Response(200, content=checksum(b"older")))
    with pytest.raises(DumpUnusable) as found:
        await host.source.open(FILE)
    assert found.value.fault is DumpFileFault.CHECKSUM
    assert len(host.paths) == 4


@pytest.mark.parametrize(
    "told",
    [b"", b"\xff" * 100, b"0" * 64, checksum(BODY, "other.zip"), b"<html>"],
    ids=["nothing", "bytes", "another", "of another file", "a page"],
)
async def test_what_is_no_checksum_proves_nothing(told: bytes) -> None:
    host = Host(whole, lambda _, _n: httpx.Response(200, content=told))
    with pytest.raises(DumpUnusable, match="checksum"):
        await host.source.open(FILE)
    assert len(host.paths) <= 4


async def test_a_missing_file_and_a_missing_checksum_are_told() -> None:
    host = Host(lambda _, _n: httpx.Response(404, content=b"<Error><Code>NoSuchKey</Code></Error>"))
    with pytest.raises(DumpUnusable) as found:
        await host.source.open(FILE)
    assert found.value.fault is DumpFileFault.MISSING
    assert await host.source.size(FILE) is None


async def test_one_that_is_larger_than_its_rows_can_be_is_not_fetched_whole() -> None:
    host = Host(lambda _, _n: httpx.Response(200, content=bytes(FILE.max_bytes + 1)))
    with pytest.raises(DumpUnusable, match="too large"):
        await host.source.open(FILE)


@pytest.mark.parametrize("status", [403, 401, 451, 301, 418])
async def test_a_refusal_ends_it_at_once(status: int) -> None:
    host = Host(lambda _, _n: httpx.Response(status))
    with pytest.raises(DumpsUnavailable, match=str(status)):
        await host.source.open(FILE)
    assert len(host.paths) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_host_that_is_busy_is_asked_four_times(status: int) -> None:
    host = Host(lambda _, number: httpx.Response(status) if number < 4 else httpx.Response(200, content=BODY))
    (await host.source.open(FILE)).close()
    always = Host(lambda _, _n: httpx.Response(status))
    with pytest.raises(DumpsUnavailable, match=str(status)):
        await always.source.open(FILE)
    assert len(always.paths) == 1 + 4
    assert always.clock.now() - host.clock.now() < 120


async def test_a_lost_network_ends_it_soon() -> None:
    def lost(request: httpx.Request, _: int) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    host = Host(lost, lost)
    for ask in (host.source.open, host.source.size):
        with pytest.raises(DumpsUnavailable, match="ConnectError"):
            await ask(FILE)
    assert len(host.paths) == 8


async def test_a_full_disk_ends_it_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_size: int) -> IO[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", full)
    with pytest.raises(DumpsUnavailable, match="No space left on device"):
        await Host(whole).source.open(FILE)


async def test_a_pipe_in_the_place_of_a_checksum_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(BODY)
    os.mkfifo(tmp_path / f"{FILE.name}.CHECKSUM")
    with pytest.raises(DumpUnusable, match="checksum"):
        await open_source(str(tmp_path), VirtualClock()).open(FILE)
