"""Serve dump files, `/dumps/data/…`: answer as S3 behind data.binance.vision does, at no weight."""

import hashlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from xml.sax.saxutils import escape

from mdcache.sim.api.edge_replies import edge_reply
from mdcache.sim.api.replies import ExchangeReply, Headers, date_header
from mdcache.sim.config import family_of
from mdcache.sim.control.faults import InjectedFault
from mdcache.sim.dumps.names import CHECKSUM, DumpName, parse
from mdcache.sim.exchange import Exchange, LogEntry

PREFIX = "/dumps/"
_XML_TYPE = "application/xml"
_MESSAGES = {
    404: ("NoSuchKey", "The specified key does not exist."),
    405: ("MethodNotAllowed", "The specified method is not allowed against this resource."),
    503: ("SlowDown", "Please reduce your request rate."),
}


class DumpServer:
    """Answers requests for dump files; `sleep(0)` is called while a long one is made."""

    def __init__(self, exchange: Exchange, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._exchange = exchange
        self._sleep = sleep

    async def reply(self, method: str, path: str, client: str) -> ExchangeReply:
        """Answer one request at the current time."""
        exchange, key = self._exchange, path.removeprefix(PREFIX)
        name = parse(key.removesuffix(CHECKSUM))
        reply = await self._reply(method, key, name)
        family = family_of(name.market if name is not None else "spot")
        exchange.note(LogEntry(exchange.now_ms(), client, method, path, "", reply.status, 0, family))
        return reply

    async def _reply(self, method: str, key: str, name: DumpName | None) -> ExchangeReply:
        now = self._exchange.now_ms()
        armed = self._exchange.control.dump_faults(key)
        faults = {fault.kind: fault for fault in armed}
        date = date_header(now, self._exchange.control.date_skew_s)
        if method not in {"GET", "HEAD"}:
            return _error(405, key, date)
        if "403" in faults:
            return edge_reply(InjectedFault("403"), date)
        if "503" in faults or "404" in faults or name is None:
            return _error(503 if "503" in faults else 404, key, date)
        body = await self._exchange.dumps.archive(name, armed, now, lambda: self._sleep(0))
        if body is None:
            return _error(404, key, date)
        if "damaged" in faults:  # not by the way here: its checksum is that of the damaged file
            middle = len(body) // 2
            body = body[:middle] + bytes(byte ^ 0xFF for byte in body[middle : middle + 8]) + body[middle + 8 :]
        kind = "application/zip"
        if key.endswith(CHECKSUM):
            told = body + b"stale" if "stale_checksum" in faults else body
            body, kind = f"{hashlib.sha256(told).hexdigest()}  {name.stem}.zip\n".encode(), "binary/octet-stream"
        headers: Headers = (
            ("Content-Type", kind),
            date,
            ("Last-Modified", formatdate(name.published_ms / 1000, usegmt=True)),
            ("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'),
            ("Server", "AmazonS3"),
            ("X-Cache", "Miss from cloudfront"),
        )
        if method == "HEAD":
            return ExchangeReply(200, headers, body)
        slow = faults.get("slow")
        fault, bytes_s = "truncate" if "truncate" in faults else None, slow.bytes_s if slow is not None else None
        return ExchangeReply(200, headers, body, fault=fault, bytes_s=bytes_s)


def _error(status: int, key: str, date: tuple[str, str]) -> ExchangeReply:
    """Return S3's error."""
    code, message = _MESSAGES[status]
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        f"<Key>{escape(key)}</Key><RequestId>1ME6DE2AS6S6AKVX</RequestId><HostId>c2ltdWxhdGVk</HostId></Error>"
    )
    return ExchangeReply(status, (("Content-Type", _XML_TYPE), date, ("Server", "AmazonS3")), body.encode())
