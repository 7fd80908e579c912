"""The application as a transport of httpx, in process; unlike httpx's own it passes on what is sent as it comes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx

from mdcache.serving.app import App


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: "asyncio.Queue[bytes | None]", gone: asyncio.Event, task: "asyncio.Task[None]") -> None:
        self._chunks, self._gone, self._task = chunks, gone, task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def aclose(self) -> None:
        self._gone.set()
        await self._task


class AppTransport(httpx.AsyncBaseTransport):
    """`app` may be replaced, as a daemon is restarted; `None`: nobody listens."""

    def __init__(self, app: App) -> None:
        self.app: App | None = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.app is None:
            raise httpx.ConnectError("nobody listens")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.url.path,
            "raw_path": request.url.path.encode(),
            "root_path": "",
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 40_000),
            "server": ("127.0.0.1", 8700),
        }
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        gone = asyncio.Event()
        head: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        received = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            for message in received:
                return message
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.set_result(message)
                return
            if message.get("body"):
                chunks.put_nowait(message["body"])
            if not message.get("more_body"):
                chunks.put_nowait(None)

        task = asyncio.create_task(_run(self.app, scope, receive, send))
        start = await head
        return httpx.Response(start["status"], headers=start["headers"], stream=_Body(chunks, gone, task))


async def _run(app: App, *call: Any) -> None:
    await app(*call)
