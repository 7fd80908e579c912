"""A secret never shows: not in a message, a repr, an exception's chain, nor in what `check` prints."""

import traceback

import pytest

from mdcache.settings import EffectiveSetting, SettingsError, effective, load

SECRET = "hunter2"  # in every value below

BAD = {
    "MDCACHE_ADMIN_TOKEN": "hunter2 with blanks",
    "MDCACHE_REDIS_URL": "http://:hunter2@redis",
    "MDCACHE_SPOT_URL": "ftp://me:hunter2@host",
    "MDCACHE_USDM_URL": "https://me:hunter2@host:port",
    "MDCACHE_COINM_URL": "https://me:hunter2%40host:x",
    "MDCACHE_SPOT_WS_URL": "https://me:hunter2@host",
    "MDCACHE_USDM_WS_URL": "wss://me:hunter2@[host",
    "MDCACHE_COINM_WS_URL": "me:hunter2@host",
    "MDCACHE_CORS_ORIGINS": "https://me:hunter2@host",
    "MDCACHE_HOST": "me:hunter2@ho st",
    "MDCACHE_ADMIN_TOKN": "hunter2",
    "MDCACHE_AMDIN_TOEKN": "hunter2",
    "mdcache_admin_token": "hunter2",
    "MDCACHE_REDIS_PASSWORD": "hunter2",
    "MDCACHE_RDS_ULR": "redis://:hunter2@redis",
    "MDCACHE_API_KEY": "hunter2",
    "MDCACHE_PROXY": "http://me:hunter2@proxy",
}
GOOD = {
    "MDCACHE_ADMIN_TOKEN": "hunter2",
    "MDCACHE_REDIS_URL": "rediss://:hunter2@redis:6380/0",
    "MDCACHE_SPOT_URL": "https://me:hunter2@host/base",
    "MDCACHE_USDM_URL": "https://hunter2@host",
    "MDCACHE_COINM_URL": "http://me:1@hunter2@host",
    "MDCACHE_SPOT_WS_URL": "wss://me:hunter2@host:9443",
    "HTTPS_PROXY": "http://me:hunter2@proxy:3128",
}


def shown(environ: dict[str, str]) -> dict[str, EffectiveSetting]:
    return {row.name: row for row in effective(load(environ, None))}


@pytest.mark.parametrize("name", BAD)
def test_not_in_an_error(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: BAD[name]}, None)
    (problem,) = caught.value.problems
    assert problem.name == name
    for text in (str(caught.value), repr(caught.value), str(problem.as_dict()), repr(caught.value.problems)):
        assert SECRET not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_not_beside_other_errors() -> None:
    with pytest.raises(SettingsError) as caught:
        load(GOOD | {"MDCACHE_PORT": "x"}, None)
    assert SECRET not in str(caught.value)


def test_not_in_a_repr() -> None:
    settings = load(GOOD, None)
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


def test_not_among_the_effective_values() -> None:
    rows = shown(GOOD)
    assert SECRET not in str(rows)
    assert rows["MDCACHE_ADMIN_TOKEN"].value == "(hidden)"
    assert rows["MDCACHE_SPOT_URL"].value == "https://(hidden)@host/base"
    assert rows["HTTPS_PROXY"].value == "http://(hidden)@proxy:3128"
    assert not rows["HTTPS_PROXY"].default


def test_not_in_an_odd_proxy() -> None:
    assert SECRET not in shown({"https_proxy": "me:hunter2@proxy:3128"})["HTTPS_PROXY"].value
    with pytest.raises(SettingsError) as error:  # httpx takes what is before the slash for a port
        load({"https_proxy": "http://me:hunt/hunter2@proxy"}, None)
    assert SECRET not in str(error.value)


def test_the_settings_themselves_have_it() -> None:
    settings = load(GOOD, None)
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == SECRET
    assert settings.https_proxy is not None
    assert SECRET in settings.https_proxy.get_secret_value()
    assert SECRET in settings.spot_url


def test_effective_values_mark_defaults() -> None:
    rows = shown({"MDCACHE_PORT": "9000", "MDCACHE_OPEN_CANDLE_TTLS": '{"1m": 1, "1M": 60}'})
    assert rows["MDCACHE_PORT"] == EffectiveSetting("MDCACHE_PORT", "9000", default=False, note="")
    assert rows["MDCACHE_OPEN_CANDLE_TTLS"].value == '{"1m":1,"1M":60}'
    assert rows["MDCACHE_HOST"].default
    assert rows["MDCACHE_DERIVE"].value == "true"
    assert rows["MDCACHE_DERIVE"].note == ""  # everything has its effect
    assert rows["MDCACHE_REDIS_TIMEOUT_S"].value == "0.25"
    assert rows["MDCACHE_STREAM_IDLE_S"].value == "300"
    assert rows["HTTPS_PROXY"].default
