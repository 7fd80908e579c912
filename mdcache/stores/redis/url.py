"""Parse `MDCACHE_REDIS_URL`, and make a redis-py client for it.

    redis://[user:password@]host[:port][/db]            one server
    rediss://…                                          the same, over TLS
    redis+sentinel://[user:password@]host[:port],…/service[/db]
    redis+cluster://[user:password@]host[:port],…

redis-py knows only the first two. Passwords are percent-encoded. After `?` may follow TLS options (`tls=true` for the
plus forms, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`), and
`sentinel_username`, `sentinel_password` if the Sentinels need their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

ForeignClient = Any  # redis-py's clients have no common base class with the commands

_PORT, _SENTINEL_PORT = 6379, 26379
_TEXTS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_OPTIONS = {"tls", "ssl_check_hostname", "sentinel_username", "sentinel_password", *_TEXTS}
_YES, _NO = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}
_CERT_REQS = {"required", "optional", "none"}


class Topology(StrEnum):
    """How many servers there are, and how the primary is found."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of Redis, and the user to log in as. Its `repr` shows no secret."""

    topology: Topology
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    db: int = 0
    tls: Mapping[str, object] = field(default_factory=dict)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse_url(url: str) -> RedisAddress:
    """Parse a URL.

    Raises:
        ValueError: what is wrong with it, without quoting any of it.
    """
    scheme, _, rest = url.partition("://")
    forms = {"redis": Topology.SINGLE, "rediss": Topology.SINGLE}
    forms |= {"redis+sentinel": Topology.SENTINEL, "redis+cluster": Topology.CLUSTER}
    if scheme not in forms:
        raise ValueError("its scheme should be redis, rediss, redis+sentinel or redis+cluster")
    form = forms[scheme]
    address, _, query = rest.partition("?")
    options = _options(query)
    address, slash, path = address.rpartition("@")[2].partition("/")
    userinfo = rest.partition("?")[0].rpartition("@")[0]
    username, _, password = userinfo.partition(":")
    port = _SENTINEL_PORT if form is Topology.SENTINEL else _PORT
    hosts = tuple(_host(part, port) for part in address.split(","))
    if form is Topology.SINGLE and len(hosts) > 1:
        raise ValueError("several hosts are only for redis+sentinel and redis+cluster")
    parts = [unquote(part) for part in path.split("/") if part] if slash else []
    service = parts.pop(0) if form is Topology.SENTINEL and parts else ""
    if form is Topology.SENTINEL and not service:
        raise ValueError("the name of the service should follow the hosts: redis+sentinel://host/service")
    if len(parts) > 1 or any(not part.isdecimal() for part in parts) or (form is Topology.CLUSTER and parts):
        raise ValueError("only the number of a database may follow the host, and none for a cluster")
    return RedisAddress(
        topology=form,
        hosts=hosts,
        service=service,
        db=int(parts[0]) if parts else 0,
        tls=_tls(options, forced=scheme == "rediss"),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def connect(address: RedisAddress, timeout_s: float) -> ForeignClient:
    """Make a `redis.asyncio` client, not connected yet.

    It never retries: its caller has a circuit breaker. `timeout_s` bounds each wait on the socket; the caller bounds
    the call as a whole.
    """
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        **address.tls,
    }
    match address.topology:
        case Topology.SINGLE:
            host, port = address.hosts[0]
            return Redis(host=host, port=port, db=address.db, **common)
        case Topology.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            common["retry"] = Retry(NoBackoff(), 1)  # the second attempt goes to the node that MOVED named
            return RedisCluster(startup_nodes=nodes, **common)
        case Topology.SENTINEL:
            # If one hangs, there must be time to ask the next.
            asked_s = timeout_s / (len(address.hosts) + 1)
            asking = {name: common[name] for name in ("protocol", "driver_info", "retry", *address.tls)}
            asking |= {"socket_timeout": asked_s, "socket_connect_timeout": asked_s}
            asking |= {"username": address.sentinel_username, "password": address.sentinel_password}
            sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=asking, **common)  # type: ignore[no-untyped-call] # untyped there
            return sentinel.master_for(address.service, db=address.db)


async def close(client: ForeignClient) -> None:
    """Close a client that `connect` made, and its connections to Sentinels."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    if manager is not None:
        await manager.aclose()


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - _OPTIONS:  # not quoted: it may be the end of a password that contains a `?`
        known = ", ".join(sorted(_OPTIONS))
        raise ValueError(f"only {known} may follow the ?; in a password, write %3F for ?")
    return options


def _host(text: str, port: int) -> tuple[str, int]:
    """Return (host, port), also of an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"//{text}")
        found = parts.hostname, parts.port
    except ValueError:
        found = None, None
    host, given = found
    if not host or given == 0:
        raise ValueError("each host should be a name or an address, optionally with :port")
    return host, given or port


def _tls(options: Mapping[str, str], *, forced: bool) -> dict[str, object]:
    if not (forced or _flag(options, "tls", default=False)):
        if any(name.startswith("ssl_") for name in options):
            raise ValueError("ssl_ options are for rediss:// or tls=true")
        return {}
    if options.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs should be {', '.join(sorted(_CERT_REQS))}")
    chosen: dict[str, object] = {name: options[name] for name in _TEXTS if name in options}
    checked = _flag(options, "ssl_check_hostname", default=options.get("ssl_cert_reqs") != "none")
    return {"ssl": True, "ssl_check_hostname": checked, **chosen}


def _flag(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = options.get(name, "").lower()
    if value and value not in _YES | _NO:
        raise ValueError(f"{name} should be true or false")
    return value in _YES if value else default
