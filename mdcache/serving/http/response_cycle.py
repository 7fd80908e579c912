"""One response: uvicorn's, which would send chunks to clients of HTTP/1.0."""

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class ResponseCycle(RequestResponseCycle):
    """A response whose length is not known ends with its connection, if the client speaks HTTP/1.0.

    Chunks are new in HTTP/1.1: an older client would take their sizes for the body (RFC 9112, 6.1).
    """

    _ends_by_close = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's, as uvicorn types them
        """Send the head, or some of the body."""
        if message["type"] == "http.response.start":
            names = {name for name, _ in message.get("headers", ())}
            if self.scope["http_version"] == "1.0" and b"content-length" not in names:
                self.chunked_encoding, self.expected_content_length = False, sys.maxsize
                self._ends_by_close = True
        elif self._ends_by_close and not message.get("more_body"):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
