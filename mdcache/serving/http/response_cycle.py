"""One response: uvicorn's, which would send chunks to clients of HTTP/1.0, and join what is sent in parts."""

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from mdcache.serving.http.unread_answers import COUNTED_BYTES

PARTS = "mdcache.parts"  # an extension of ASGI: the next parts of a body of known length, in the place of `body`


class ResponseCycle(RequestResponseCycle):
    """A response whose length is not known ends with its connection, if the client speaks HTTP/1.0.

    Chunks are new in HTTP/1.1: an older client would take their sizes for the body (RFC 9112, 6.1).
    """

    long_body: bytes | None = None  # if it was one body, and a long one
    _ends_by_close = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's, as uvicorn types them
        """Send the head, or some of the body."""
        if message["type"] == "http.response.start":
            names = {name for name, _ in message.get("headers", ())}
            if self.scope["http_version"] == "1.0" and b"content-length" not in names:
                self.chunked_encoding, self.expected_content_length = False, sys.maxsize
                self._ends_by_close = True
        elif PARTS in message:
            await self._write_parts(message[PARTS])
            return
        elif self._ends_by_close and not message.get("more_body"):
            self.expected_content_length = len(message.get("body", b""))
        if len(body := message.get("body", b"")) > COUNTED_BYTES:
            self.long_body = body
        await super().send(message)

    async def _write_parts(self, parts: list[bytes]) -> None:
        """Write parts together, without joining them."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            self.expected_content_length -= sum(map(len, parts))
            self.transport.writelines(parts)
