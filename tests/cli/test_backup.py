"""backup, restore, reconcile and doctor as a person runs them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.conftest import Shell
from databases import Databases
from joinder.store.migrate import newest

pytestmark = [pytest.mark.timeout(300), pytest.mark.proof]  # many processes each
TROUBLE = """
INSERT INTO due (kind, enrollment_id, app, due_at, strikes) VALUES ('poll', 'enrl-aaaaaaaaaaaaaaaa', 'x', 1, 0);
INSERT INTO quota (app, span, "window", used, until) VALUES ('x', 'blocked', 0, 0, 9999999999);
INSERT INTO webhook_endpoint (id, account_id, url, types, secret_sealed, disabled_at, disabled_reason, created_at)
SELECT 'whep-x', id, 'u', '[]', x'00', 1, 'gone for days', 1 FROM account;
"""


@pytest.fixture
def installed(joinder: Shell) -> Shell:
    joinder.json("accounts", "create", "Acme")
    return joinder


@contextmanager
def changed(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "joinder.sqlite3")
    with connection:
        yield connection
    connection.close()


def enrolled(folder: Path, vendor: str, health: str = "ok") -> None:
    with changed(folder) as database:
        account = database.execute("SELECT id FROM account").fetchone()[0]
        database.execute(
            "INSERT INTO enrollment (id, account_id, vendor, options, status, health, health_since, failures, "
            "created_at) VALUES ('enrl-aaaaaaaaaaaaaaaa', ?, ?, '{}', 'enrolled', ?, 0, 0, 0)",
            (account, vendor, health),
        )


def test_a_copy_is_made_and_put_back(installed: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    told = installed("backup", str(copy))
    assert (told.returncode, "1 account" in told.stdout, "The key is not inside" in told.stdout) == (0, True, True)
    manifest = json.loads((tmp_path / "copy.sqlite3.manifest.json").read_text())
    assert (manifest["database"], manifest["schema"], manifest["counts"]["account"]) == ("sqlite", newest(), 1)
    assert manifest["keyIds"][0] in told.stdout
    before = installed.json("accounts", "list")
    installed.json("accounts", "create", "Later")
    refused = installed("restore", str(copy))
    assert (refused.returncode, "--replace --confirm joinder.sqlite3" in refused.stderr) == (4, True)
    done = installed.json("restore", str(copy), "--replace", "--confirm", "joinder.sqlite3")[0]
    assert installed.json("accounts", "list") == before
    assert len(sqlite3.connect(str(done["kept"])).execute("SELECT id FROM account").fetchall()) == 2
    assert installed("reconcile").stdout == "No grant is waiting.\n"


def test_a_folder_keeps_the_newest(installed: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    installed.json("backup", str(folder), "--keep", "2")
    (folder / "joinder-notes.sqlite3").write_text("mine")
    made = [str(installed.json("backup", str(folder), "--keep", "2")[0]["file"]) for _ in range(4)]
    kept = {path.name for path in folder.iterdir()}
    newest = {Path(path).name for path in made[-2:]}
    assert kept == {"joinder-notes.sqlite3", *newest, *(f"{name}.manifest.json" for name in newest)}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("backup", "there"), 4, "overwrite it with --force"),
        (("backup", "joinder.sqlite3", "--force"), 4, "is the database itself"),
        (("backup", "nowhere/x"), 1, "does not exist"),
        (("backup", "there", "--keep", "2"), 1, "--keep needs a folder"),
        (("backup", "nowhere/x", "--keep", "2"), 1, "cannot be made a folder"),
        (("backup", ".", "--keep", "0"), 2, "--keep"),
        (("restore", "absent"), 3, "no copy"),
        (("restore", "there"), 1, "no copy of a SQLite database"),
        (("restore", "unrelated"), 4, "--replace"),
        (("restore", "unrelated", "--replace", "--confirm", "joinder.sqlite3"), 78, "no database of Joinder"),
        (("reconcile", "--refusals", "0"), 2, "--refusals"),
    ],
)
def test_what_cannot_work_is_a_sentence(
    installed: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "there").write_text("x")
    other = sqlite3.connect(tmp_path / "unrelated")
    other.execute("CREATE TABLE a (b)")
    other.close()
    monkeypatch.chdir(tmp_path)
    before = installed.json("accounts", "list")
    done = installed(*arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "there").read_text() == "x"
    assert installed.json("accounts", "list") == before


def test_force_overwrites(installed: Shell, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    assert installed("backup", str(tmp_path / "there"), "--force").returncode == 0
    assert (tmp_path / "there").read_bytes().startswith(b"SQLite format 3")


def test_there_must_be_a_database_to_copy(joinder: Shell, tmp_path: Path) -> None:
    done = joinder("backup", str(tmp_path / "copy"))
    assert (done.returncode, "no database" in done.stderr) == (78, True)


def test_postgres_is_copied_by_its_own_program(joinder: Shell, databases: Databases, tmp_path: Path) -> None:
    url = databases.empty()
    joinder.env |= {"JOINDER_DATABASE_URL": url, "JOINDER_JOURNAL_FOLDER": str(tmp_path / "journal")}
    joinder.json("accounts", "create", "Acme")
    copy = tmp_path / "copy.dump"
    assert joinder.json("backup", str(copy))[0]["database"] == "postgresql"
    assert (copy.read_bytes()[:5], copy.stat().st_mode & 0o777) == (b"PGDMP", 0o600)
    joinder.json("accounts", "create", "Later")
    name = url.rsplit("/", 1)[1].split("?")[0]
    done = joinder.json("restore", str(copy), "--replace", "--confirm", name)[0]
    assert str(done["kept"]).startswith(f"{name}.before-")
    assert [row["name"] for row in joinder.json("accounts", "list")] == ["Acme"]
    done = joinder("doctor")
    assert done.returncode == 0, done.stdout


def test_what_to_install_is_said(
    joinder: Shell, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from joinder.settings import ConfigError
    from joinder.store import dumps

    monkeypatch.setattr(dumps, "PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install postgresql-client"):
        dumps.find_tool("pg_dump")


def test_a_well_installation_has_no_findings(installed: Shell, tmp_path: Path) -> None:
    (tmp_path / "joinder.sqlite3.ballast").touch()
    done = installed("doctor")
    assert done.returncode == 0, done.stdout
    assert "LOOK" not in done.stdout
    checks = {row["check"] for row in installed.json("doctor")}
    assert {"schema", "commits", "disk", "modes", "plugins", "work"} <= checks


def findings(joinder: Shell, code: int = 1, **env: str) -> dict[str, dict[str, str]]:
    """What is not well, by check; each names a next step."""
    done = joinder("doctor", "--json", **env)
    assert done.returncode == code, done.stdout + done.stderr
    found = {row["check"]: row for row in json.loads(done.stdout) if not row["ok"]}
    assert all(row["nextStep"] for row in found.values())
    return found


def test_each_finding_names_the_next_step(installed: Shell, tmp_path: Path) -> None:
    os.chmod(tmp_path / "joinder.sqlite3", 0o644)
    enrolled(tmp_path, "nobody", health="needs_consent")
    with changed(tmp_path) as database:
        database.executescript(TROUBLE)
    found = findings(installed)
    assert "missing" in found["ballast"]["text"]
    assert "chmod 600" in found["modes"]["nextStep"]
    assert "nobody" in found["plugins"]["text"]
    assert "join flow" in found["enrollments"]["nextStep"]
    assert "poll: 1 late" in found["work"]["text"]
    assert "no call" in found["quotas"]["text"]
    assert "gone for days" in found["webhooks"]["text"]


def test_a_barrier_is_a_finding(installed: Shell, tmp_path: Path) -> None:
    enrolled(tmp_path, "tesla")
    with changed(tmp_path) as database:
        database.execute(
            'INSERT INTO "grant" (enrollment_id, sealed, version, state, obtained_by, obtained_at, refresh_count, '
            "intent_count) VALUES ('enrl-aaaaaaaaaaaaaaaa', x'00', 1, 'active', 'consent', 1, 0, 0)"
        )
    copy = tmp_path / "copy"
    assert installed("backup", str(copy)).returncode == 0
    done = installed.json("restore", str(copy), "--replace", "--confirm", "joinder.sqlite3")[0]
    assert done["waiting"] == {"tesla": 1}
    assert "joinder reconcile" in findings(installed)["barrier"]["nextStep"]
    released = installed.json("reconcile")[0]  # the copy is younger than this vendor's grace
    assert (released["vendor"], released["released"]) == ("tesla", ["enrl-aaaaaaaaaaaaaaaa"])


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"JOINDER_KEY_FILE": "/nowhere/key"}, "joinder keys create"),
        ({"JOINDER_DATABASE_URL": f"sqlite:///{__file__}"}, "no database of Joinder"),
        ({"JOINDER_PORTT": "1"}, "JOINDER_PORT"),
    ],
)
def test_a_configuration_that_cannot_work_is_a_finding_too(installed: Shell, env: dict[str, str], says: str) -> None:
    assert says in findings(installed, 78, **env)["configuration"]["text"]


def test_a_database_that_is_away_is_a_finding_with_a_code_of_its_own(installed: Shell) -> None:
    found = findings(installed, 75, JOINDER_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert "ConnectionRefusedError at 127.0.0.1/x" in found["database"]["text"]
    assert "by themselves" in found["database"]["nextStep"]


def test_looking_migrates_nothing(installed: Shell, tmp_path: Path) -> None:
    with changed(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    assert "older" in findings(installed)["schema"]["text"]
    with changed(tmp_path) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in findings(installed, code=78)["schema"]["text"]
