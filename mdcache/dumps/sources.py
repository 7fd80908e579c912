"""Where dump files are: a folder, or a host. Each file that is opened matches its checksum, and can be inflated.

The host's refusals are its own: they close no gate of the API (docs/design.md#dumps).
"""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import IO, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import tenacity

from mdcache import __version__
from mdcache.clock import Clock
from mdcache.dumps.faults import DumpFileFault, DumpsUnavailable, DumpUnusable
from mdcache.dumps.files import DumpFile
from mdcache.dumps.zip_reader import check_zip, sha256

HOST = "data.binance.vision"
_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")
_CHECKSUM_BYTES = 4_096
_IN_MEMORY_BYTES = 8 << 20  # of a file that is fetched; a larger one goes to a temporary file
_ATTEMPTS = 4
_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 20.0
_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
_FILE_S = 900.0  # for one file, however slowly it comes
_T = TypeVar("_T")
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class DumpSource(Protocol):
    """A place that has dump files."""

    cheap_misses: bool  # whether looking for a file that is probably missing costs next to nothing

    async def open(self, file: DumpFile) -> IO[bytes]:
        """Return a file that matches its checksum and can be inflated, for the caller to close.

        Raises:
            DumpUnusable: This file can't be used.
            DumpsUnavailable: No file can be had now.
        """

    async def size(self, file: DumpFile) -> int | None:
        """Return the bytes of a file; `None` if there is none. Raises `DumpsUnavailable`."""

    async def aclose(self) -> None:
        """Close all connections."""


def open_source(where: str, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> DumpSource:
    """Return the source at a URL or in a folder; `transport` replaces the network."""
    if is_url(where):
        return DumpHost(where, clock, transport)
    return DumpFolder(Path(where))


def is_url(where: str) -> bool:
    """Return whether it is a host's URL, else a folder."""
    return urlsplit(where).scheme in {"http", "https"}


class DumpFolder:
    """A mirror of the dump host, or a folder with the files of one market, each beside its `.CHECKSUM`."""

    cheap_misses = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self, file: DumpFile) -> IO[bytes]:
        """Open it in place."""
        return await asyncio.to_thread(self._open, file)

    async def size(self, file: DumpFile) -> int | None:
        """Return its size."""
        found = await asyncio.to_thread(self._find, file)
        return None if found is None else found.stat().st_size

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _find(self, file: DumpFile) -> Path | None:
        try:
            if not self._folder.is_dir():
                raise DumpsUnavailable(f"{self._folder} is no folder that can be read")
            inside_data = file.path.removeprefix("data/")
            return next(
                (at for name in (file.path, inside_data, file.name) if (at := self._folder / name).is_file()), None
            )
        except OSError as error:
            raise DumpsUnavailable(str(error)) from error

    def _open(self, file: DumpFile) -> IO[bytes]:
        found = self._find(file)
        if found is None:
            raise DumpUnusable(DumpFileFault.MISSING)
        beside = found.with_name(f"{found.name}.CHECKSUM")
        if not beside.is_file():  # a pipe would never end
            raise DumpUnusable(DumpFileFault.CHECKSUM, "there is no .CHECKSUM file beside it")
        try:
            checksum = beside.open("rb")
        except OSError as error:
            raise DumpsUnavailable(str(error)) from error
        with checksum, ExitStack() as stack:
            try:
                stream = stack.enter_context(found.open("rb"))
                _verify(stream, checksum.read(_CHECKSUM_BYTES), file)
            except OSError as error:
                raise DumpsUnavailable(str(error)) from error
            stack.pop_all()
            return stream


class DumpHost:
    """A host with the paths of data.binance.vision."""

    cheap_misses = False

    def __init__(self, base_url: str, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        headers = {"user-agent": f"mdcache/{__version__}", "accept-encoding": "identity"}
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, headers=headers, transport=transport)

    async def open(self, file: DumpFile) -> IO[bytes]:
        """Fetch it; once more if its checksum does not match, as it may have been replaced in between."""
        try:
            return await self._fetch_verified(file)
        except DumpUnusable as error:
            if error.fault is not DumpFileFault.CHECKSUM:
                raise
        return await self._fetch_verified(file)

    async def size(self, file: DumpFile) -> int | None:
        """Return its size by a HEAD."""

        async def attempt() -> int | None:
            reply = await self._client.head(self._url(file.path))
            if reply.status_code == HTTPStatus.NOT_FOUND:
                return None
            _check(reply, file.path)
            return int(reply.headers.get("content-length", 0))

        return await self._retry(attempt)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _fetch_verified(self, file: DumpFile) -> IO[bytes]:
        with ExitStack() as stack:
            checksum = stack.enter_context(await self._fetch(f"{file.path}.CHECKSUM", _CHECKSUM_BYTES))
            stream = await self._fetch(file.path, file.max_bytes)
            stack.callback(stream.close)
            await asyncio.to_thread(_verify, stream, checksum.read(), file)
            stack.pop_all()
            checksum.close()
            return stream

    async def _fetch(self, path: str, max_bytes: int) -> IO[bytes]:
        async def attempt() -> IO[bytes]:
            with ExitStack() as stack:
                stream = stack.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES))
                async with asyncio.timeout(_FILE_S), self._client.stream("GET", self._url(path)) as reply:
                    _check(reply, path)
                    async for piece in reply.aiter_bytes():
                        stream.write(piece)
                        if stream.tell() > max_bytes:
                            raise DumpUnusable(DumpFileFault.TOO_LARGE, f"more than {max_bytes:,} bytes")
                stream.seek(0)
                stack.pop_all()
                return stream

        return await self._retry(attempt)

    async def _retry(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        retrying = tenacity.AsyncRetrying(
            sleep=self._clock.sleep,
            retry=tenacity.retry_if_exception_type((httpx.TransportError, TimeoutError, _Later)),
            wait=tenacity.wait_random_exponential(_FIRST_PAUSE_S, _MAX_PAUSE_S),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except (httpx.HTTPError, OSError, _Later) as error:
            raise DumpsUnavailable(f"{self._base_url}: {type(error).__name__.lstrip('_')} {error}".rstrip()) from error

    def _url(self, path: str) -> str:
        return f"{self._base_url}/{quote(path)}"


class _Later(Exception):
    """The host asks to come back later."""


def _check(reply: httpx.Response, path: str) -> None:
    status = reply.status_code
    if status == HTTPStatus.OK:
        return
    if status == HTTPStatus.NOT_FOUND:
        raise DumpUnusable(DumpFileFault.MISSING, path.rsplit("/", 1)[1] if path.endswith(".CHECKSUM") else "")
    if status in _TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _Later(f"status {status}")
    raise DumpsUnavailable(f"{urlsplit(str(reply.url)).netloc} answered {status}: it refuses to be asked")


def _verify(stream: IO[bytes], checksum: bytes, file: DumpFile) -> None:
    """Raise `DumpUnusable` unless the stream matches this checksum and can be inflated."""
    told = _CHECKSUM.fullmatch(checksum)
    if told is None or told[2].decode(errors="replace").rsplit("/", 1)[-1] != file.name:
        raise DumpUnusable(DumpFileFault.CHECKSUM, "its .CHECKSUM file names no such file")
    if sha256(stream, file.max_bytes) != told[1].decode().lower():
        raise DumpUnusable(DumpFileFault.CHECKSUM, "it was issued again, or is damaged")
    check_zip(stream, file)
