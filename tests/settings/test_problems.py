"""Everything wrong is named in one go: the name, the value, and what would be right."""

from pathlib import Path

import pytest

from mdcache.settings import Problem, Settings, SettingsError, load
from mdcache.settings.model import PREFIX

BAD = [
    ("HOST", "", "one word"),
    ("PORT", "70000", "65535"),
    ("PORT", "-1", "0"),
    ("PORT", "x", "whole number"),
    ("PORT", "1.5", "whole number"),
    ("SPOT_URL", "ftp://api.binance.com", "https://"),
    ("USDM_URL", "wss://fstream.binance.com", "https://"),
    ("COINM_URL", "dapi.binance.com", "https://"),
    ("SPOT_URL", "", "https://"),
    ("SPOT_URL", "https://", "https://"),
    ("SPOT_URL", "https://host:port", "https://"),
    ("SPOT_URL", "https://[::1", "https://"),
    ("SPOT_URL", "https://host/?a=1", "https://"),
    ("SPOT_WS_URL", "https://stream.binance.com", "wss://"),
    ("STREAMS", "on", "'auto' or 'off'"),
    ("STREAM_IDLE_S", "-0.5", "0"),
    ("DERIVE", "perhaps", "true or false"),
    ("OPEN_CANDLE_TTL_S", "nan", "finite"),
    ("OPEN_CANDLE_TTL_S", "inf", "finite"),
    ("OPEN_CANDLE_TTL_S", "2s", "number"),
    ("OPEN_CANDLE_TTLS", '{"2m":1}', "'2m' is not an interval"),
    ("OPEN_CANDLE_TTLS", '{"1m":-1}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":NaN}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":Infinity}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":1e999}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":true}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":"1"}', "'1m' should be seconds"),
    ("OPEN_CANDLE_TTLS", '{"1m":1,"1m":2}', "once"),
    ("OPEN_CANDLE_TTLS", '{"1m":1', "JSON"),
    ("OPEN_CANDLE_TTLS", "[1]", "JSON object"),
    ("OPEN_CANDLE_TTLS", "", "JSON"),
    ("SNAPSHOT_TTLS", '{"/ticker/24hr":5}', "tail"),
    ("SNAPSHOT_TTLS", '{"ticker/24hr":null}', "seconds"),
    ("MAX_STALE_S", "-1", "0"),
    ("WEIGHT_SHARE", "0", "0"),
    ("WEIGHT_SHARE", "1.01", "1"),
    ("WEIGHT_SHARE", "nan", "finite"),
    ("EGRESS", "", "one word"),
    ("REPLICAS", "0", "1"),
    ("UPSTREAM_CONCURRENCY", "0", "1"),
    ("UPSTREAM_TIMEOUT_S", "0", "0"),
    ("REQUEST_DEADLINE_S", "-8", "0"),
    ("RETRY_ATTEMPTS", "0", "1"),
    ("BACKOFF_INITIAL_S", "-1", "0"),
    ("MEMORY_MAX_MB", "0", "1"),
    ("STATE_DIR", "~no-such-user-here/x", "folder"),
    ("DISK_MAX_MB", "-1", "0"),
    ("CLIENTS", '{"ai":"urgent"}', "high, normal, low"),
    ("CLIENTS", '{"":"low"}', "name"),
    ("CLIENTS", "engine=high", "JSON"),
    ("UNKNOWN_PATHS", "allow", "'refuse' or 'forward'"),
    ("COMPRESS", "gzip", "'auto'"),
    ("ALLOWED_HOSTS", "http://desk.example", "names such as"),
    ("ALLOWED_HOSTS", "desk.example,,other", "names such as"),
    ("CORS_ORIGINS", "desk.example", "https://"),
    ("LOG_LEVEL", "loud", "'info'"),
    ("LOG_FORMAT", "xml", "'json'"),
    ("SHUTDOWN_GRACE_S", "-1", "0"),
]


def problems_of(environ: dict[str, str], dotenv: Path | None = None) -> tuple[Problem, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, dotenv)
    return caught.value.problems


@pytest.mark.parametrize(("name", "value", "right"), BAD)
def test_a_bad_value_is_named_with_what_would_be_right(name: str, value: str, right: str) -> None:
    (problem,) = problems_of({PREFIX + name: value})
    assert problem.name == PREFIX + name
    assert problem.value == repr(value)
    assert right in problem.right


def test_all_of_them_in_one_go() -> None:
    environ = {PREFIX + name: value for name, value, _ in BAD} | {"MDCACHE_PROT": "1", "MDCACHE_X": "2"}
    problems = problems_of(environ)
    assert {problem.name for problem in problems} == set(environ)
    assert len(problems) == len(environ)


def test_every_fault_of_a_map_in_one_go() -> None:
    (problem,) = problems_of({"MDCACHE_OPEN_CANDLE_TTLS": '{"2m":1,"1h":-1,"1M":60}'})
    assert "'2m'" in problem.right
    assert "'1h'" in problem.right
    assert "'1M'" not in problem.right


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("MDCACHE_PROT", "MDCACHE_PORT"),
        ("MDCACHE_WIEGHT_SHARE", "MDCACHE_WEIGHT_SHARE"),
        ("MDCACHE_OPEN_CANDLE_TTL", "MDCACHE_OPEN_CANDLE_TTL_S"),
        ("mdcache_port", "MDCACHE_PORT"),
        ("Mdcache_Log_Level", "MDCACHE_LOG_LEVEL"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_nearest_known(name: str, suggested: str) -> None:
    (problem,) = problems_of({name: "1"})
    assert problem.name == name
    assert problem.value == "'1'"
    assert problem.right.endswith(f"did you mean {suggested}?")


def test_an_unknown_name_like_no_other_is_refused_too() -> None:
    (problem,) = problems_of({"MDCACHE_QQQQQQ": "1"})
    assert problem.right == "no such setting"


def test_dotenv_is_checked_as_the_environment_is(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MDCACHE_PROT=1\nmdcache_x=1\nMDCACHE_REPLICAS=0\n")
    problems = problems_of({"MDCACHE_PORT": "x"}, dotenv)
    assert [(problem.name, problem.source) for problem in problems] == [
        ("MDCACHE_PROT", ".env, line 1"),
        ("mdcache_x", ".env, line 2"),
        ("MDCACHE_PORT", "environment"),
        ("MDCACHE_REPLICAS", ".env, line 3"),
    ]


def test_a_bad_value_that_the_environment_overrides_does_not_matter(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("MDCACHE_PORT=x\n")
    assert load({"MDCACHE_PORT": "9000"}, dotenv).port == 9000


def test_a_message_is_one_line_whatever_the_value_holds() -> None:
    (problem,) = problems_of({"MDCACHE_PORT": "a\nb\x1b[31m\udcff" + "c" * 500})
    assert len(str(problem)) < 300
    assert str(problem).isprintable()


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "state_dir"])
def test_no_setting_takes_a_control_character_in_silence(name: str) -> None:
    problems_of({PREFIX + name.upper(): "a\r\nb"})


def test_a_folder_may_have_any_name() -> None:
    """It is never part of a request, a key or a header."""
    assert load({"MDCACHE_STATE_DIR": "/a\r\nb"}, None).state_dir == Path("/a\r\nb")
