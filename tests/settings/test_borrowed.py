"""Proxies and certificates: the variables of others that the daemon goes by are checked at its start."""

import subprocess
from pathlib import Path

import certifi
import pytest

from mdcache.settings import SettingsError, load
from tests.support.programs import find

HOME = {"HOME": "/home/someone"}


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value", ["ftp://proxy:21", "http://[::1", "http://proxy:port", "http://", "socks5://proxy:1080", "http://a:99999"]
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(HOME | {name: value.replace("proxy", "user:word@proxy")}, None)
    (problem,) = error.value.problems
    assert problem.name == name
    assert "http://host:port" in problem.right
    assert "word" not in str(error.value)


@pytest.mark.parametrize("value", ["", "proxy:3128", "http://user:word@proxy:3128", "https://[::1]:3128/"])
def test_a_proxy_that_can_be_used_is_taken(value: str) -> None:
    proxy = load(HOME | {"HTTPS_PROXY": value}, None).https_proxy
    assert (proxy.get_secret_value() if proxy else "") == value


def test_certificates_are_a_file_of_certificates(tmp_path: Path) -> None:
    empty, folder = tmp_path / "empty.pem", tmp_path
    empty.touch()
    for wrong in (tmp_path / "none.pem", empty, folder):
        with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
            load(HOME | {"SSL_CERT_FILE": str(wrong)}, None)
    with pytest.raises(SettingsError, match="SSL_CERT_DIR"):
        load(HOME | {"SSL_CERT_DIR": str(empty)}, None)
    load(HOME | {"SSL_CERT_FILE": certifi.where(), "SSL_CERT_DIR": str(empty)}, None)  # the file goes first
    load(HOME | {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": ""}, None)


@pytest.mark.processes
def test_a_certificate_that_signs_no_others_may_be_all_that_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "leaf.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    options = ["-subj", "/CN=proxy", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "/dev/null"]
    subprocess.run([*command, *options, "-out", str(file)], check=True, capture_output=True)
    load(HOME | {"SSL_CERT_FILE": str(file)}, None)
