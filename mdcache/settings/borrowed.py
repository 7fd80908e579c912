"""Check the HTTP library's own environment variables: proxies, and certificates to trust.

The library itself raises an exception, which shows as a traceback, if one of them can't be used.
"""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_PROXIES = ("https_proxy", "http_proxy", "all_proxy")
_SCHEMES = {"http", "https"}  # SOCKS needs a package that is not installed


def faults(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each variable that can't be used, and what would be right."""
    for name in _PROXIES:
        for spelling in (name, name.upper()):
            if (value := environ.get(spelling)) and not _is_proxy(value):
                yield spelling, "should be the URL of an HTTP proxy, http://host:port"
    if file := environ.get("SSL_CERT_FILE"):
        if not _has_certificates(file):
            yield "SSL_CERT_FILE", "should be a readable file of PEM certificates"
    elif (folder := environ.get("SSL_CERT_DIR")) and not Path(folder).is_dir():
        yield "SSL_CERT_DIR", "should be a folder of PEM certificates"


def _is_proxy(value: str) -> bool:
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        return url.scheme in _SCHEMES and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _has_certificates(file: str) -> bool:
    try:
        return ssl.create_default_context(cafile=file).cert_store_stats()["x509"] > 0  # of a leaf, too
    except OSError:  # `ssl.SSLError` is one
        return False
