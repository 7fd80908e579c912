"""Each command does what its help says, with the exit code that is documented."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mdcache import __version__
from mdcache.settings import Settings, load
from tests.cli.conftest import Run

SECRET = "hunter2"


@pytest.mark.parametrize("spelling", ["--version", "version"])
def test_version(run: Run, spelling: str) -> None:
    result = run(spelling)
    assert (result.exit_code, result.stdout) == (0, f"mdcache {__version__}\n")


def test_without_a_command_it_shows_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    for command in ("serve", "check", "sim", "version"):
        assert command in result.output


class TestCheck:
    def test_it_shows_every_setting(self, run: Run) -> None:
        result = run("check", MDCACHE_PORT="9000", MDCACHE_SPOT_URL="http://127.0.0.1:8701")
        assert result.exit_code == 0
        lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
        assert {f"MDCACHE_{name.upper()}" for name in Settings.model_fields} <= lines.keys()
        assert lines["MDCACHE_PORT"].split()[1:3] == ["9000", "set"]
        assert lines["MDCACHE_HOST"].split()[1:3] == ["127.0.0.1", "default"]
        assert "HTTPS_PROXY" in lines
        assert lines["/api/v3/depth"].rstrip().endswith("1 to 50")

    def test_it_says_what_is_taken_of_the_exchange_profile(self, run: Run, tmp_path: Path) -> None:
        env = {"MDCACHE_STATE_DIR": str(tmp_path), "MDCACHE_SPOT_URL": "http://127.0.0.1:8701"}
        assert f"no exchange profile in {tmp_path}" in run("check", **env).stdout
        facts = {"spot.klines_cap": 500, "spot.colour": "red"}
        hosts = {"spot": "http://127.0.0.1:8701"}
        whole = {"version": 1, "measured_at_ms": 1_790_000_000_000, "mdcache": "1", "hosts": hosts, "facts": facts}
        (tmp_path / "exchange-profile.json").write_text(json.dumps(whole))
        result = run("check", **env)
        assert result.exit_code == 0
        assert "exchange profile of 2026-09-21 14:13 UTC: 1 measured, 1 taken" in result.stdout
        assert "a read asks for at most 500 rows" in result.stdout
        assert "spot.colour: no such fact" in result.stdout
        told = json.loads(run("check", "--json", **env).stdout)["profile"]
        assert [(note["fact"], note["taken"]) for note in told["notes"]] == [("spot.klines_cap", True)]
        assert told["refused"] == ["spot.colour: no such fact"]

    def test_json_for_machines(self, run: Run) -> None:
        result = run("check", "--json", MDCACHE_PORT="9000", MDCACHE_SERVICE_HOST="10.0.0.7")
        assert result.exit_code == 0
        told = json.loads(result.stdout)
        rows = {row["name"]: row for row in told["settings"]}
        assert rows["MDCACHE_PORT"] == {
            "name": "MDCACHE_PORT",
            "value": "9000",
            "default": False,
            "note": "",
        }
        assert told["ignored"] == ["MDCACHE_SERVICE_HOST"]

    def test_it_names_the_ignored_service_links(self, run: Run) -> None:
        result = run("check", MDCACHE_PORT="tcp://10.0.0.7:8700")
        assert result.exit_code == 0
        assert "service links: MDCACHE_PORT" in result.stdout

    def test_it_reads_dotenv(self, run: Run, folder: Path) -> None:
        (folder / ".env").write_text("MDCACHE_PORT=9100\n")
        assert "9100" in run("check").stdout

    def test_a_value_with_markup_is_shown_as_it_is(self, run: Run) -> None:
        assert "[red]x[/red]" in run("check", MDCACHE_EGRESS="[red]x[/red]").stdout

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_secrets_stay_hidden(self, run: Run, options: tuple[str, ...]) -> None:
        environ = {
            "MDCACHE_ADMIN_TOKEN": SECRET,
            "MDCACHE_REDIS_URL": f"redis://:{SECRET}@redis",
            "MDCACHE_SPOT_URL": f"https://me:{SECRET}@host",
            "HTTPS_PROXY": f"http://me:{SECRET}@proxy:3128",
        }
        result = run("check", *options, **environ)
        assert result.exit_code == 0
        assert "http://(hidden)@proxy:3128" in result.stdout
        assert SECRET not in result.output

    @pytest.mark.parametrize("options", [(), ("--json",)])
    def test_secrets_stay_hidden_in_problems(self, run: Run, options: tuple[str, ...]) -> None:
        environ = {"MDCACHE_ADMIN_TOKN": SECRET, "MDCACHE_REDIS_URL": f"http://:{SECRET}@redis"}
        result = run("check", *options, **environ)
        assert result.exit_code == 2
        assert SECRET not in result.output

    @pytest.mark.parametrize("rest", ["redis/0?foo=1", "redis,other", "redis:0"])
    def test_a_redis_url_that_can_not_be_taken_apart(self, run: Run, rest: str) -> None:
        result = run("check", MDCACHE_REDIS_URL=f"redis://:{SECRET}@{rest}")
        assert result.exit_code == 2
        assert "MDCACHE_REDIS_URL" in result.output
        assert SECRET not in result.output

    def test_problems_as_json(self, run: Run) -> None:
        result = run("check", "--json", MDCACHE_PORT="x", MDCACHE_REPLICAS="0")
        assert result.exit_code == 2
        problems = json.loads(result.stdout)["problems"]
        assert [problem["name"] for problem in problems] == ["MDCACHE_PORT", "MDCACHE_REPLICAS"]


@pytest.mark.parametrize("command", ["serve", "check"])
def test_all_that_is_wrong_goes_to_stderr_at_once(run: Run, folder: Path, command: str) -> None:
    (folder / ".env").write_text("MDCACHE_PROT=1\n")
    result = run(command, MDCACHE_PORT="x", MDCACHE_WEIGHT_SHARE="2")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 3
    for text in (
        "MDCACHE_PROT='1'",
        "did you mean MDCACHE_PORT?",
        "MDCACHE_PORT='x'",
        "MDCACHE_WEIGHT_SHARE='2'",
    ):
        assert text in result.stderr


def test_serve_hands_the_settings_to_the_daemon(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []

    def serve(settings: Settings, read: Callable[[], Settings]) -> None:
        served.extend((settings, read()))

    monkeypatch.setitem(sys.modules, "mdcache.daemon.lifecycle", SimpleNamespace(run=serve))
    assert run("serve", MDCACHE_PORT="9000").exit_code == 0
    assert [settings.port for settings in served] == [9000, 9000]


def test_sim_hands_its_options_over(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[SimpleNamespace, str, int]] = []
    fake = SimpleNamespace(SimConfig=SimpleNamespace, serve=lambda *given: served.append(given[:3]))
    monkeypatch.setitem(sys.modules, "mdcache.sim.server", fake)
    assert run("sim").exit_code == 0
    told = (
        "--port",
        "9",
        "--seed",
        "7",
        "--rows",
        str(folder),
        "--host",
        "::1",
        "--limit",
        "90",
    )
    assert run("sim", *told).exit_code == 0
    (first, *where), (second, *elsewhere) = served
    assert (first.seed, first.rows_dir, first.spot_limit, where) == (1, None, 6_000, ["127.0.0.1", 8701])
    assert (second.seed, second.rows_dir, second.spot_limit, elsewhere) == (7, folder, 90, ["::1", 9])


def test_sim_says_how_to_put_the_daemon_with_streams_in_front(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(SimConfig=SimpleNamespace, serve=lambda *given: given[3]("http://127.0.0.1:8701"))
    monkeypatch.setitem(sys.modules, "mdcache.sim.server", fake)
    (line,) = [line for line in run("sim").stderr.splitlines() if "mdcache serve" in line]
    told = dict(word.split("=") for word in line.partition(": ")[2].split() if "=" in word)
    settings = load(told, dotenv=None)
    assert settings.spot_url == settings.usdm_url == settings.coinm_url == "http://127.0.0.1:8701"
    assert settings.stream_urls() == {
        "spot": "ws://127.0.0.1:8701",
        "usdm": "ws://127.0.0.1:8701/usdm",
        "coinm": "ws://127.0.0.1:8701/coinm",
    }


def test_a_folder_of_rows_that_is_not_there_is_refused(run: Run, folder: Path) -> None:
    assert run("sim", "--rows", str(folder / "none")).exit_code == 2


@pytest.mark.parametrize("text", ["{", '{"facts": {"spot.colour": "red"}}'])
def test_sim_refuses_a_profile_that_it_cannot_play(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    result = run("sim", "--profile", str(file))
    assert result.exit_code == 2
    assert "is no profile that can be" in result.output
