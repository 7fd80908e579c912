"""The forms of REDIS_URL."""

import pytest

from mdcache.stores.redis.url import Topology, parse_url


@pytest.mark.parametrize(
    ("url", "form", "hosts", "service", "db"),
    [
        ("redis://cache", Topology.SINGLE, (("cache", 6379),), "", 0),
        ("redis://cache:6380/3", Topology.SINGLE, (("cache", 6380),), "", 3),
        ("redis://[::1]:7000", Topology.SINGLE, (("::1", 7000),), "", 0),
        ("redis+sentinel://a,b:7/main", Topology.SENTINEL, (("a", 26379), ("b", 7)), "main", 0),
        ("redis+sentinel://a:1,b:2,c:3/main/5", Topology.SENTINEL, (("a", 1), ("b", 2), ("c", 3)), "main", 5),
        ("redis+cluster://a,b:7", Topology.CLUSTER, (("a", 6379), ("b", 7)), "", 0),
    ],
)
def test_each_form(url: str, form: Topology, hosts: object, service: str, db: int) -> None:
    found = parse_url(url)
    assert (found.topology, found.hosts, found.service, found.db) == (form, hosts, service, db)
    assert not found.tls


def test_passwords_are_decoded_and_never_shown() -> None:
    found = parse_url("redis+sentinel://me:p%40ss%2Fw:rd@a/main?sentinel_password=other-word")
    assert (found.username, found.password, found.sentinel_password) == ("me", "p@ss/w:rd", "other-word")
    assert "p@ss" not in repr(found)
    assert "other-word" not in repr(found)
    assert parse_url("redis://:only@a").username is None


def test_tls() -> None:
    assert parse_url("rediss://a").tls == {"ssl": True, "ssl_check_hostname": True}
    found = parse_url("redis+cluster://a?tls=true&ssl_ca_certs=/ca.pem&ssl_cert_reqs=none").tls
    assert found == {"ssl": True, "ssl_check_hostname": False, "ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "none"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a", "scheme"),
        ("redis://a,b", "several hosts"),
        ("redis://a/x", "number of a database"),
        ("redis://a/1/2", "number of a database"),
        ("redis+sentinel://a", "service"),
        ("redis+cluster://a/1", "number of a database"),
        ("redis+cluster://a,,b", "each host"),
        ("redis://a:70000", "each host"),
        ("redis://a?password=hidden-word", "may follow the ?"),
        ("redis://:pass?hidden-word@a", "%3F"),
        ("redis://a?ssl_ca_certs=/x", "rediss"),
        ("rediss://a?ssl_cert_reqs=hidden-word", "ssl_cert_reqs"),
        ("rediss://a?ssl_check_hostname=hidden-word", "true or false"),
    ],
)
def test_what_is_wrong_is_said_without_quoting_it(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        parse_url(url)
    assert "hidden-word" not in str(raised.value)
