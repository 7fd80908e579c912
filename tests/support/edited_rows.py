"""An upstream whose kline pages are edited on their way: rows left out, pages cut, windows answered with old rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.virtual_daemon import VirtualDaemon

PrintedRows = list[list[Any]]


@dataclass(frozen=True)
class PageRequest:
    """What a page was asked for: the ends that were set, and the limit."""

    path: str
    start_ms: int | None
    end_ms: int | None
    limit: int

    @property
    def newest(self) -> bool:
        """Whether neither end is set."""
        return self.start_ms is None and self.end_ms is None


Edit = Callable[[PageRequest, PrintedRows], PrintedRows]


class EditedRows(httpx.AsyncBaseTransport):
    """Passes each kline page of `inner` through `edit`; `None`: as it is. `pages`: what was asked.

    `lost_before_ms`: the exchange has no rows that open before it.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.edit: Edit | None = None
        self.lost_before_ms = 0
        self.pages: list[PageRequest] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wanted = request.url.params
        if "startTime" in wanted and int(wanted["startTime"]) < self.lost_before_ms <= int(
            wanted.get("endTime", 1 << 60)
        ):
            url = request.url.copy_set_param("startTime", self.lost_before_ms)
            response = await self._inner.handle_async_request(httpx.Request("GET", url, headers=request.headers))
        else:
            response = await self._inner.handle_async_request(request)
        path, asked = request.url.path, dict(request.url.params)
        if not path.lower().endswith("klines") or response.status_code != 200:
            return response
        start, end = (int(asked[name]) if name in asked else None for name in ("startTime", "endTime"))
        page = PageRequest(path, start, end, int(asked["limit"]))
        self.pages.append(page)
        rows = [row for row in json.loads(await response.aread()) if row[0] >= self.lost_before_ms]
        body = json.dumps(self.edit(page, rows) if self.edit else rows, separators=(",", ":")).encode()
        return httpx.Response(200, content=body, headers=_plain(response), request=request)


def _plain(response: httpx.Response) -> list[tuple[str, str]]:
    framing = {"content-length", "content-encoding"}
    return [(name, value) for name, value in response.headers.items() if name.lower() not in framing]


def edit_rows(w: VirtualDaemon) -> EditedRows:
    """Put an editor between the daemon and its exchange; the daemon starts anew."""
    w.transport = edited = EditedRows(w.transport)
    w.restart()
    return edited
