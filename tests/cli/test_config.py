"""`joinder config`, as a person runs it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.conftest import Shell

PASSWORD = "canary-5512"


@pytest.fixture
def url_file(joinder: Shell, tmp_path: Path) -> Path:
    """The database is named by a file alone, as a secret of a container is."""
    del joinder.env["JOINDER_DATABASE_URL"]
    path = tmp_path / "url"
    path.write_text(f"postgresql://me:{PASSWORD}@db.example/joinder\n")
    joinder.env["JOINDER_DATABASE_URL_FILE"] = str(path)
    return path


def test_it_says_what_holds_and_from_where(joinder: Shell, url_file: Path) -> None:
    rows = {row["setting"]: row for row in joinder.json("config", "show", "--origin")}
    assert rows["JOINDER_DATABASE_URL"]["value"] == "postgresql://me:***@db.example/joinder"
    assert rows["JOINDER_DATABASE_URL"]["origin"] == "file, by JOINDER_DATABASE_URL_FILE"
    assert rows["JOINDER_KEY_FILE"]["origin"] == "environment"
    assert rows["JOINDER_PORT"] == {"setting": "JOINDER_PORT", "value": "8080", "origin": "default"}
    told = joinder("config", "show", "--origin")
    assert (told.returncode, PASSWORD in told.stdout + told.stderr, "***" in told.stdout) == (0, False, True)
    assert "origin" not in joinder("config", "show").stdout


def test_a_file_setting_is_the_one_that_works(joinder: Shell, url_file: Path, tmp_path: Path) -> None:
    url_file.write_text(f"sqlite:///{tmp_path}/other.sqlite3\n")
    joinder.json("accounts", "create", "Acme")
    assert (tmp_path / "other.sqlite3").exists()
    done = joinder("accounts", "list", JOINDER_DATABASE_URL="sqlite:///x")
    assert (done.returncode, "both set" in done.stderr) == (78, True)


def test_check_names_everything_that_stops_a_start_and_opens_nothing(joinder: Shell, tmp_path: Path) -> None:
    assert joinder("config", "check").returncode == 0
    wrong = {"JOINDER_KEY_FILE": "/nowhere/key", "JOINDER_METRICS_TOKEN_FILE": "/nowhere/token"}
    done = joinder("config", "check", JOINDER_CALL_LIMITS="solaredgy:day=1", **wrong)
    assert done.returncode == 78
    assert [says in done.stderr for says in ("keys create", "METRICS_TOKEN_FILE", "mean solaredge?")] == [True] * 3
    assert not (tmp_path / "joinder.sqlite3").exists()


NOWHERE = (
    ({"JOINDER_JOURNAL_FOLDER": "/nowhere/journal"}, "cannot be made: /nowhere does not exist; name a folder"),
    ({"JOINDER_JOURNAL_FOLDER": "{folder}/file"}, "is no folder; name a folder that this user may write to"),
    ({"JOINDER_JOURNAL_FOLDER": "{folder}/file/journal"}, "file is no folder; name a folder"),
    ({"JOINDER_PUBLIC_FILES": "/nowhere"}, "/nowhere does not exist; name a folder that this user may read, or none"),
    ({"JOINDER_PUBLIC_FILES": "{folder}/file"}, "is no folder"),
    ({"JOINDER_METRICS_TOKEN_FILE": "/nowhere"}, "/nowhere does not exist"),
    ({"JOINDER_METRICS_PORT": "9", "JOINDER_METRICS_HOST": "::"}, "open to others: set JOINDER_METRICS_TOKEN_FILE"),
    ({"JOINDER_METRICS_PORT": "9", "JOINDER_METRICS_HOST": "192.0.2.1", "JOINDER_METRICS_TOKEN_FILE": "{folder}/token"},
     "no interface of this machine has that address; set JOINDER_METRICS_HOST"),
    ({"JOINDER_HOST": "192.0.2.1"}, "no interface of this machine has that address; set JOINDER_HOST"),
    ({"JOINDER_HOST": "nobody.invalid"}, "no address has that name; set JOINDER_HOST"),
    ({"JOINDER_PORT": "9464", "JOINDER_METRICS_PORT": "9464"}, "both 9464; give each a port of its own"),
    ({"JOINDER_DATABASE_URL": "sqlite:////nowhere/x.sqlite3"}, "the folder /nowhere does not exist"),
    ({"JOINDER_DATABASE_URL": "sqlite:///{folder}"}, "is a directory; name the file in it"),
    ({"JOINDER_KEY_FILE": "/nowhere"}, "joinder keys create"),
)  # fmt: skip


@pytest.mark.parametrize(("env", "says"), NOWHERE)
def test_what_cannot_be_is_said_by_check_and_doctor_and_stops_a_start(
    joinder: Shell, tmp_path: Path, env: dict[str, str], says: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "token").write_text("x" * 20)
    env = {name: value.format(folder=tmp_path) for name, value in env.items()}
    for command in ("config check", "doctor", "serve"):
        done = joinder(*command.split(), **env)
        assert done.returncode == 78, (command, done.stderr)
        assert says in done.stdout + done.stderr, (command, done.stdout, done.stderr)
    assert not (tmp_path / "joinder.sqlite3").exists()


def test_a_worker_asks_nothing_that_only_a_server_needs(joinder: Shell, tmp_path: Path) -> None:
    only_of_servers = {"JOINDER_PUBLIC_FILES": "/nowhere", "JOINDER_HOST": "192.0.2.1"}
    done = joinder("worker", JOINDER_JOURNAL_FOLDER="/nowhere/journal", **only_of_servers)
    assert (done.returncode, done.stderr.count("Configuration: "), "JOURNAL" in done.stderr) == (78, 1, True)


def test_all_that_stops_a_start_is_said_at_once(joinder: Shell) -> None:
    done = joinder("serve", JOINDER_PUBLIC_FILES="/nowhere", JOINDER_HOST="192.0.2.1", JOINDER_KEY_FILE="/nowhere")
    assert (done.returncode, done.stderr.count("Configuration: ")) == (78, 3)


def test_a_port_that_a_running_server_has_is_no_mistake(joinder: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert joinder("config", "check", JOINDER_PORT=port).returncode == 0
        assert joinder("serve", JOINDER_PORT=port).returncode == 78


def test_a_url_that_does_not_work_is_not_quoted(joinder: Shell, url_file: Path) -> None:
    url_file.write_text(f"mysql://me:{PASSWORD}@db.example/joinder")
    for words in ("config check", "config show", "accounts list", "doctor"):
        done = joinder(*words.split())
        assert PASSWORD not in done.stdout + done.stderr


def test_the_file_is_named_anywhere_on_the_line(joinder: Shell, tmp_path: Path) -> None:
    path = tmp_path / "joinder.toml"
    path.write_text("port = 81\nhost = '::1'\n")
    for line in (("--config", str(path), "config", "show"), ("config", "show", f"--config={path}")):
        rows = {row["setting"]: row for row in joinder.json(*line, "--origin")}
        assert (rows["JOINDER_PORT"]["value"], rows["JOINDER_PORT"]["origin"]) == ("81", str(path))
        assert rows["JOINDER_KEY_FILE"]["origin"] == "environment"
    assert joinder("config", "path", "--config", str(path)).stdout.strip() == str(path)
    assert joinder("--config", "/dev/null", "config", "path").stdout == ""


def test_every_setting_is_described(joinder: Shell) -> None:
    told = [row["setting"] for row in joinder.json("config", "reference")]
    assert all(f"{name}  (" in joinder("config", "reference").stdout for name in told[:2])
    assert "# port = 8080" in joinder("config", "reference", "--toml").stdout
    assert "| `port` | `8080` |" in joinder("config", "reference", "--markdown").stdout


def test_help_comes_whatever_the_file_holds(joinder: Shell, tmp_path: Path) -> None:
    (tmp_path / "joinder.toml").write_text("prot = 1")
    done = joinder("--config", str(tmp_path / "joinder.toml"), "--help")
    assert (done.returncode, "serve" in done.stdout) == (0, True)
    done = joinder("--config", str(tmp_path / "joinder.toml"), "accounts", "list")
    assert (done.returncode, "did you mean port?" in done.stderr) == (78, True)
