"""`SSL_CERT_FILE`, as the chart's `certificates` and a unit's environment give it: whom the daemon trusts."""

from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import call, ours
from tests.deploy.proxies import nginx
from tests.support.processes import daemon, sim

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

QUESTION = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2"


def test_an_upstream_with_a_certificate_of_your_own_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sim() as exchange, nginx(exchange.removeprefix("http://"), tmp_path) as front:
        upstream = f"https://127.0.0.1:{front.port}"
        with daemon(upstream, request_deadline_s="2") as (url, _):
            assert httpx.get(url + QUESTION, trust_env=False).status_code == 503
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "mdcache.crt"))
        with daemon(upstream) as (url, _):
            reply = httpx.get(url + QUESTION, trust_env=False)
            assert (reply.status_code, len(reply.json())) == (200, 2)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_file_of_certificates_that_is_not_there_is_told_in_a_line(tmp_path: Path, command: str) -> None:
    state = str(tmp_path / "state")
    done = call(
        ours("mdcache"), command, SSL_CERT_FILE="/nonexistent/ca.crt", MDCACHE_STATE_DIR=state, MDCACHE_PORT="0"
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "SSL_CERT_FILE" in said
    assert "Traceback" not in said
