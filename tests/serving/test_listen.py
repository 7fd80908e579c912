"""Where the server listens: ports in use, hosts, and the address of the status page."""

import socket

import pytest

from mdcache.serving.http import server
from tests.support.serving_harness import ServingHarness


async def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server.ListenFailed, match=f"cannot listen on 127.0.0.1:{port}: .*in use.*MDCACHE_PORT"):
            await server.listen("127.0.0.1", port)


async def test_of_two_that_bind_a_port_at_once_the_second_to_listen_reports_it() -> None:
    one = await server.listen("127.0.0.1", 0)
    port = one[0].getsockname()[1]
    other = await server.listen("127.0.0.1", port)
    one[0].listen()
    try:
        with pytest.raises(server.ListenFailed, match=f"cannot listen on 127.0.0.1:{port}: .*in use.*MDCACHE_PORT"):
            await server.serve(ServingHarness().app, other, 1.0, lambda _: None)
    finally:
        for listening in (*one, *other):
            listening.close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8700", "http://127.0.0.1:8700/"),
        ("0.0.0.0:8700", "http://127.0.0.1:8700/"),
        ("[::]:8700", "http://[::1]:8700/"),
        ("192.0.2.7:80", "http://192.0.2.7:80/"),
    ],
)
def test_the_page_of_an_address(address: str, url: str) -> None:
    assert server.url_on_this_machine(address) == url


async def test_a_host_that_is_none() -> None:
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:1"):
        await server.listen("nowhere.invalid", 1)


@pytest.mark.parametrize("host", [".", "a" * 300])
async def test_a_host_that_can_be_none(host: str) -> None:
    with pytest.raises(server.ListenFailed, match="cannot listen on"):
        await server.listen(host, 0)


async def test_names_with_several_addresses_share_one_port() -> None:
    sockets = await server.listen("localhost", 0)
    assert len({listening.getsockname()[1] for listening in sockets}) == 1
    for listening in sockets:
        listening.close()
