"""`joinder config`, as a person runs it."""

from __future__ import annotations

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
