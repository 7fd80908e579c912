"""Spellings of paths and hosts: a proxy's rule for a path holds, and a rebound name opens nothing."""

import json

import pytest

from tests.support.serving_harness import TOKEN, ServingHarness
from tests.support.socket_client import serving

PURGE = (
    b"POST %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
    + TOKEN.encode()
    + b"\r\nContent-Length: 2\r\n\r\n{}"
)
STATUS = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n"
SPELLINGS = [
    *(b"/v1/admin%2Fpurge", b"/v1/%61dmin/purge", b"/v1//admin/purge", b"//v1/admin/purge", b"/v1/./admin/purge"),
    *(b"/v1/x/../admin/purge", b"/v1/%2e/admin/purge", b"/x/%2e%2e/v1/admin/purge", b"/v1/admin/purge/"),
    *(b"/v1/admin/purge%00", b"/v1/admin/purge%20", b"/v1/admin/purge;x", b"/V1/ADMIN/PURGE", b"/v1\\admin\\purge"),
    *(
        b"/v1/admin/purge%3f",
        b"/v1/admin/purge%23",
        b"/v1/%u0061dmin/purge",
        b"/v1/admin/pur%c1%a7e",
        b"/v1/%2561dmin/purge",
    ),
]


async def test_the_admin_paths_have_one_spelling() -> None:
    async with serving(ServingHarness()) as connect:
        peer = await connect()
        assert (await peer.get(PURGE % b"/v1/admin/purge"))[0] == 200
        for spelling in SPELLINGS:
            status, _, body = await peer.get(PURGE % spelling)
            assert status in {403, 404}, spelling
            assert json.loads(body).keys() == {"code", "msg"}
        for spelling in SPELLINGS:
            other = spelling.replace(b"admin", b"").replace(b"%61dmin", b"").replace(b"purge", b"status")
            assert (await peer.get(STATUS % (other, b"localhost")))[0] in {403, 404}, other


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://localhost/v1/status", b"localhost", 200),
        (b"HTTP://LOCALHOST:8700/v1/status", b"localhost:8700", 200),
        (b"http://evil.example/v1/status", b"evil.example", 403),
        (b"http://evil.example/v1/status", b"localhost", 400),
        (b"http://localhost/v1/status", b"evil.example", 400),
        (b"http://localhost@evil.example/v1/status", b"localhost", 400),
        (b"http://localhost:80/v1/status", b"localhost:8700", 400),
        (b"http://localhost?/v1/status", b"localhost", 400),
        (b"//evil.example/v1/status", b"localhost", 404),
        (b"/v1/status", b"localhost@evil.example", 403),
        (b"/v1/status", b"localhost/.evil.example", 403),
        (b"/v1/status", b"evil.example#localhost", 403),
        (b"/v1/status", b"localhost%00.evil.example", 403),
        (b"/v1/status", b"[localhost", 403),
        (b"/v1/status", b"[evil.example]", 403),
        (b"/v1/status", b"127.1", 403),
        (b"/v1/status", b"127.0.0.1.nip.example", 403),
        (b"/v1/status", b"xn--lcalhost-54a.example", 403),
        (b"/v1/status", "lоcalhost.example".encode(), 403),
    ],
)  # fmt: skip
async def test_the_host_is_what_all_of_the_request_says(target: bytes, host: bytes, status: int) -> None:
    async with serving(ServingHarness()) as connect:
        found, headers, body = await (await connect()).get(STATUS % (target, host))
        assert found == status, body
        assert ("connection" in headers) is (status == 400)


async def test_market_data_under_a_target_with_a_host_is_no_other_answer() -> None:
    async with serving(ServingHarness()) as connect:
        peer = await connect()
        target = b"/api/v3/klines?symbol=BTCUSDT&interval=1m"
        for _ in range(4):
            plain = await peer.get(STATUS % (target, b"any.example"))
            whole = await peer.get(STATUS % (b"http://any.example" + target, b"any.example"))
            assert (plain[0], plain[2]) == (whole[0], whole[2]) == (200, plain[2])
