"""The least that can serve a hit: uvloop and httptools, and nothing but the bytes that the daemon sent.

    python -m bench.bare PORT FILE

FILE has a whole response; every request gets it.
"""

import asyncio
import sys
from pathlib import Path

import httptools
import uvloop


class Bare(asyncio.Protocol):
    """Parses a request and writes the response."""

    reply = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # asyncio's is wider
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(self.reply)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Bare.reply = Path(sys.argv[2]).read_bytes()
    uvloop.run(main(int(sys.argv[1])))
