"""Origins: the name of an upstream, under which its data is stored and its profile measured."""

from urllib.parse import urlsplit


def origin(url: str) -> str:
    """Return an upstream's base URL in canonical form, without user and password."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port is not None else "")
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"
