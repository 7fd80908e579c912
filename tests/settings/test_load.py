"""Where values come from, what the defaults are, and that nothing but settings is looked at."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from mdcache.exchange.intervals import INTERVALS
from mdcache.settings import EffectiveSetting, Settings, SettingsError, effective, load
from mdcache.settings.model import default_state_dir

DESIGN_NAMES = """
    HOST PORT ALLOWED_HOSTS SPOT_URL USDM_URL COINM_URL SPOT_WS_URL USDM_WS_URL COINM_WS_URL STREAMS
    STREAM_IDLE_S DERIVE
    OPEN_CANDLE_TTL_S OPEN_CANDLE_TTLS SETTLE_S CONFIRM_S EXCHANGE_INFO_TTL_S INVALID_SYMBOL_TTL_S AUDIT_ROWS_PER_HOUR
    SNAPSHOT_TTL_S SNAPSHOT_TTLS MAX_STALE_S WEIGHT_SHARE EGRESS REPLICAS UPSTREAM_CONCURRENCY
    UPSTREAM_TIMEOUT_S REQUEST_DEADLINE_S RETRY_ATTEMPTS BACKOFF_INITIAL_S BACKOFF_MAX_S MEMORY_MAX_MB
    STATE_DIR PERSIST DISK_MAX_MB REDIS_URL REDIS_PREFIX REDIS_TIMEOUT_S CLIENTS CLIENT_REQUESTS_PER_S
    UNKNOWN_PATHS COMPRESS CORS_ORIGINS ADMIN_TOKEN LISTENERS_MAX LOG_LEVEL LOG_FORMAT SHUTDOWN_GRACE_S
"""


def test_the_names_are_those_of_the_design_in_its_order() -> None:
    assert [name.upper() for name in Settings.model_fields] == DESIGN_NAMES.split()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_seconds_name_their_unit() -> None:
    for name, field in Settings.model_fields.items():
        if name.endswith("_s") and not name.endswith("_per_s"):
            assert (field.description or "").startswith("seconds"), name


def test_defaults() -> None:
    settings = load({"HOME": "/home/someone"}, None)
    assert (settings.host, settings.port) == ("127.0.0.1", 8700)
    assert settings.spot_url == "https://api.binance.com"
    assert settings.usdm_url == "https://fapi.binance.com"
    assert settings.coinm_url == "https://dapi.binance.com"
    assert settings.weight_share == 0.5
    assert settings.redis_url is None
    assert settings.admin_token is None
    assert settings.cors_origins == ()
    assert dict(settings.clients) == {}
    assert settings.state_dir == Path("/home/someone/.local/state/mdcache")
    assert settings.ignored == ()


def test_values_are_typed() -> None:
    settings = load(
        {
            "MDCACHE_PORT": "9000",
            "MDCACHE_SPOT_URL": "http://127.0.0.1:8701/base/",
            "MDCACHE_SPOT_WS_URL": "ws://127.0.0.1:8701",
            "MDCACHE_OPEN_CANDLE_TTL_S": "1.5",
            "MDCACHE_DERIVE": "false",
            "MDCACHE_STREAMS": "OFF",
            "MDCACHE_SNAPSHOT_TTLS": '{"ticker/24hr":5}',
            "MDCACHE_CLIENTS": '{"engine":"high","ai":"normal","x":"low"}',
            "MDCACHE_WEIGHT_SHARE": "1",
            "MDCACHE_STATE_DIR": "/srv/state",
            "MDCACHE_REDIS_URL": "redis+sentinel://a:26379,b:26379/main",
            "MDCACHE_CORS_ORIGINS": "https://desk.example, http://localhost:3000",
            "MDCACHE_ADMIN_TOKEN": "hunter2",
        },
        None,
    )
    assert settings.port == 9000
    assert settings.spot_url == "http://127.0.0.1:8701/base"
    assert settings.spot_ws_url == "ws://127.0.0.1:8701"
    assert settings.open_candle_ttl_s == 1.5
    assert settings.derive is False
    assert settings.streams == "off"
    assert settings.snapshot_ttls == {"ticker/24hr": 5}
    assert settings.clients == {"engine": "high", "ai": "normal", "x": "low"}
    assert settings.weight_share == 1
    assert settings.state_dir == Path("/srv/state")
    assert settings.redis_url == SecretStr("redis+sentinel://a:26379,b:26379/main")
    assert settings.cors_origins == ("https://desk.example", "http://localhost:3000")
    assert settings.admin_token == SecretStr("hunter2")


class TestTtlsOfOpenCandles:
    """Longer intervals are fresh for longer, until the operator says what he wants."""

    def ttls(self, **given: str) -> dict[str, float]:
        settings = load({f"MDCACHE_{name}": value for name, value in given.items()}, None)
        return {name: settings.candle_ttl_s(name) for name in INTERVALS}

    def test_the_longer_the_interval_the_longer_and_all_leave_time_for_stale_answers(self) -> None:
        ttls = self.ttls()
        assert list(ttls) == sorted(ttls, key=lambda name: INTERVALS[name].length_ms)
        assert list(ttls.values()) == sorted(ttls.values())
        assert ttls["1s"] == ttls["1m"] == Settings().open_candle_ttl_s == 2
        assert (ttls["5m"], ttls["1h"], ttls["4h"], ttls["1d"]) == (5, 10, 15, 20)
        assert max(ttls.values()) + 10 <= Settings().max_stale_s

    @pytest.mark.parametrize("ttl_s", ["1", "2", "20"])
    def test_one_ttl_that_is_given_alone_is_that_of_all(self, ttl_s: str) -> None:
        assert self.ttls(OPEN_CANDLE_TTL_S=ttl_s) == dict.fromkeys(INTERVALS, float(ttl_s))

    def test_a_table_that_is_given_replaces_the_default_one(self) -> None:
        ttls = self.ttls(OPEN_CANDLE_TTLS='{"1m":1,"1M":60}')
        assert (ttls["1m"], ttls["1M"]) == (1, 60)
        assert {ttls[name] for name in INTERVALS if name not in {"1m", "1M"}} == {2}
        assert set(self.ttls(OPEN_CANDLE_TTLS="{}").values()) == {2}

    def test_the_one_counts_for_what_the_table_does_not_name(self) -> None:
        ttls = self.ttls(OPEN_CANDLE_TTL_S="4", OPEN_CANDLE_TTLS='{"1h":10}')
        assert (ttls["1h"], ttls["1m"], ttls["1d"]) == (10, 4, 4)

    def test_the_table_shown_is_the_one_that_counts(self) -> None:
        def shown(**given: str) -> EffectiveSetting:
            return next(row for row in effective(load(given, None)) if row.name == "MDCACHE_OPEN_CANDLE_TTLS")

        assert '"1d":20' in shown().value
        alone = shown(MDCACHE_OPEN_CANDLE_TTL_S="2")
        assert (alone.value, alone.default) == ("{}", True)
        assert "MDCACHE_OPEN_CANDLE_TTL_S" in alone.note


@pytest.mark.parametrize("name", ["STREAM_IDLE_S", "MAX_STALE_S", "CONFIRM_S", "BACKOFF_MAX_S", "REQUEST_DEADLINE_S"])
def test_seconds_have_no_upper_limit(name: str) -> None:
    assert getattr(load({f"MDCACHE_{name}": "1e12"}, None), name.lower()) == 1e12
    assert getattr(load({f"MDCACHE_{name}": "1e308"}, None), name.lower()) == 1e12  # for ever, and no overflow


def test_settings_are_frozen_with_their_maps() -> None:
    settings = load({"MDCACHE_CLIENTS": '{"ai":"low"}'}, None)
    with pytest.raises(ValidationError):
        settings.port = 1
    with pytest.raises(TypeError):
        settings.clients["ai"] = "high"  # type: ignore[index] # the point of the test


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDCACHE_PORT", "9001")
    assert load(dotenv=None).port == 9001


def test_a_class_made_directly_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDCACHE_PORT", "9001")
    assert Settings().port == 8700


@pytest.mark.parametrize("name", ["STATE_DIR", "REDIS_URL", "ALLOWED_HOSTS", "CORS_ORIGINS", "ADMIN_TOKEN"])
def test_nothing_means_left_out_where_the_default_is_none(name: str) -> None:
    environ = {"HOME": "/home/someone"}
    assert load(environ | {f"MDCACHE_{name}": ""}, None) == load(environ, None)


def test_names_of_other_programs_are_not_looked_at(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=x\nOTHER\nMD_CACHE_PORT=1\n")
    assert load({"PORT": "x", "MDCACHED": "1"}, dotenv).port == 8700


class TestDotenv:
    def test_it_is_read_below_the_environment(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("# mine\nexport MDCACHE_PORT=9100\nMDCACHE_EGRESS='desk'\nMDCACHE_HOST=::1\n")
        settings = load({"MDCACHE_HOST": "127.0.0.9"}, dotenv)
        assert (settings.port, settings.egress, settings.host) == (9100, "desk", "127.0.0.9")

    def test_no_file_is_fine_and_so_is_a_folder_of_that_name(self, tmp_path: Path) -> None:
        assert load({}, tmp_path / "none").port == 8700
        assert load({}, tmp_path).port == 8700

    def test_nothing_is_expanded(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("MDCACHE_ADMIN_TOKEN=a${HOME}b\n")
        assert load({"HOME": "/h"}, dotenv).admin_token == SecretStr("a${HOME}b")

    @pytest.mark.parametrize("line", ["MDCACHE_PORT", "'hunter2", "MDCACHE_ADMIN_TOKEN 'hunter2"])
    def test_a_line_that_cannot_be_read_is_named_by_number_only(self, tmp_path: Path, line: str) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text(f"MDCACHE_HOST=::1\n{line}\n")
        with pytest.raises(SettingsError, match="line 2") as caught:
            load({}, dotenv)
        assert "hunter2" not in str(caught.value)

    def test_a_file_that_is_no_text_is_a_problem(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_bytes(b"MDCACHE_PORT=\xff\xfe")
        with pytest.raises(SettingsError, match="UTF-8"):
            load({}, dotenv)


class TestServiceLinks:
    LINKS = {  # noqa: RUF012 - never changed
        "MDCACHE_PORT": "tcp://10.0.0.7:8700",
        "MDCACHE_SERVICE_HOST": "10.0.0.7",
        "MDCACHE_SERVICE_PORT": "8700",
        "MDCACHE_SERVICE_PORT_HTTP": "8700",
        "MDCACHE_PORT_8700_TCP": "tcp://10.0.0.7:8700",
        "MDCACHE_PORT_8700_TCP_ADDR": "10.0.0.7",
        "MDCACHE_PORT_8700_TCP_PORT": "8700",
        "MDCACHE_PORT_8700_TCP_PROTO": "tcp",
    }

    def test_they_are_left_aside_and_reported(self) -> None:
        settings = load(self.LINKS, None)
        assert settings.port == 8700
        assert settings.ignored == tuple(sorted(self.LINKS))

    def test_a_port_in_dotenv_stands(self, tmp_path: Path) -> None:
        dotenv = tmp_path / ".env"
        dotenv.write_text("MDCACHE_PORT=9200\n")
        assert load(self.LINKS, dotenv).port == 9200

    def test_other_names_that_look_like_them_are_refused(self) -> None:
        with pytest.raises(SettingsError):
            load({"MDCACHE_PORT_TCP": "1"}, None)


class TestStateDir:
    def test_the_standard_variable_wins(self) -> None:
        assert default_state_dir({"XDG_STATE_HOME": "/x", "HOME": "/h"}) == Path("/x/mdcache")

    def test_a_relative_one_is_ignored_as_the_standard_says(self) -> None:
        assert default_state_dir({"XDG_STATE_HOME": "x", "HOME": "/h"}) == Path("/h/.local/state/mdcache")

    def test_a_home_is_expanded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/h")
        assert load({"MDCACHE_STATE_DIR": "~/md"}, None).state_dir == Path("/h/md")
        assert default_state_dir({}) == Path("/h/.local/state/mdcache")

    def test_a_user_without_a_home_has_one_all_the_same(self) -> None:
        assert default_state_dir({"HOME": "~no-such-user-here"}) == Path("/var/lib/mdcache")


@pytest.mark.parametrize(
    ("given", "markets"),
    [
        ({}, {"spot", "usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://data-api.binance.vision"}, {"spot", "usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://api4.binance.com"}, {"spot", "usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://api-gcp.binance.com"}, {"spot", "usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://testnet.binance.vision"}, {"usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://api1.testnet.binance.vision"}, {"usdm", "coinm"}),
        ({"MDCACHE_SPOT_URL": "https://demo-api.binance.com"}, {"usdm", "coinm"}),
        ({"MDCACHE_USDM_URL": "https://demo-fapi.binance.com"}, {"spot", "coinm"}),
        ({"MDCACHE_COINM_URL": "https://demo-dapi.binance.com"}, {"spot", "usdm"}),
        ({"MDCACHE_USDM_URL": "http://127.0.0.1:8701"}, {"spot", "coinm"}),
        ({"MDCACHE_USDM_URL": "http://127.0.0.1:8701", "MDCACHE_USDM_WS_URL": "ws://127.0.0.1:8701/usdm"},
         {"spot", "usdm", "coinm"}),
        ({"MDCACHE_COINM_URL": "https://binance.com.example.net"}, {"spot", "usdm"}),
        ({"MDCACHE_STREAMS": "off"}, set()),
    ],
)  # fmt: skip
def test_streams_never_feed_what_another_upstream_answers(given: dict[str, str], markets: set[str]) -> None:
    assert set(load(given).stream_urls()) == markets
