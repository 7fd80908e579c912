"""Which protocol a host chooses: over a real TLS connection, without a question."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from mdcache.verify.findings import NotMeasured
from mdcache.verify.protocols import chosen_protocol
from tests.support.programs import find
from tests.support.redis_servers import free_port

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    options = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    own = file.with_name("certificate")
    command = [find("openssl"), "req", *options, *names, "-keyout", str(file), "-out", str(own)]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + own.read_text())
    return file


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], "")])
async def test_the_one_that_the_host_prefers(
    offered: list[str], chosen: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    if offered:
        tls.set_alpn_protocols(offered)
    sent: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.set_result(await reader.read())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await chosen_protocol(f"https://127.0.0.1:{port}/base", 5.0) == chosen
        async with asyncio.timeout(5):
            assert await sent == b""


async def test_what_can_not_be_known(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasured, match="without TLS"):
        await chosen_protocol("http://127.0.0.1:1", 5.0)
    with pytest.raises(NotMeasured, match="no connection: "):
        await chosen_protocol(f"https://127.0.0.1:{free_port()}", 5.0)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    with pytest.raises(NotMeasured, match="a proxy is between"):
        await chosen_protocol("https://127.0.0.1:1", 5.0)
