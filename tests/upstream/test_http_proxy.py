"""What httpx's transport alone lacks: proxies of the environment, and credentials in an upstream's URL."""

import asyncio
import base64

import httpx
import pytest

from mdcache.upstream.http_client import MarketClient
from mdcache.upstream.models import UpstreamRequest

REQUEST = UpstreamRequest("/api/v3/time", "", (), 1, 99)


@pytest.mark.parametrize(("exempt", "sent"), [("", True), ("exchange.invalid", False)])
async def test_a_proxy_of_the_environment_is_used(exempt: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        for name in ("https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", exempt)
        client = MarketClient("http://exchange.invalid", timeout_s=5.0, concurrency=1)
        if sent:
            assert (await client.get(REQUEST, lambda _: None))[1] == b"{}"
        else:
            with pytest.raises(Exception, match="ConnectError"):
                await client.get(REQUEST, lambda _: None)
        await client.aclose()
    assert [line.split(b"\r\n")[0] for line in asked] == [b"GET http://exchange.invalid/api/v3/time HTTP/1.1"] * sent


async def test_credentials_in_the_url_are_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}", headers={"set-cookie": "a=b; Path=/"})

    transport = httpx.MockTransport(handler)
    client = MarketClient("https://me:pass@up.test", timeout_s=60.0, concurrency=1, transport=transport)
    for _ in range(2):
        assert (await client.get(REQUEST, lambda _: None))[1] == b"{}"
    await client.aclose()
    named = b"Basic " + base64.b64encode(b"me:pass")
    assert [request.headers["authorization"].encode() for request in seen] == [named] * 2
    assert [request.extensions["timeout"]["read"] for request in seen] == [60.0] * 2
    assert not any("cookie" in request.headers for request in seen)
