"""One file of settings for every command: where it is found, what it holds, what is said of one that cannot work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from joinder import config_file
from joinder.settings import ConfigError, Settings, plugins_from_env, settings_and_origins, settings_from_env
from joinder.small_files import MOST_BYTES

CANARY = "canary-7c1f"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own, on a machine without /etc/joinder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(config_file, "SYSTEM", tmp_path / "etc" / "joinder.toml")
    return folder


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def refused(env: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_from_env(env)
    assert CANARY not in str(caught.value)
    return str(caught.value)


def test_the_first_file_that_is_there_counts_and_no_other_is_read(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    written(config_file.SYSTEM, "port = 1\nlog_level = 'DEBUG'")
    assert settings_from_env(env).port == 1
    written(tmp_path / "home/.config/joinder/joinder.toml", "port = 2")
    assert settings_from_env({"HOME": env["HOME"]}).port == 2
    written(tmp_path / "xdg/joinder/joinder.toml", "port = 3")
    assert settings_from_env(env).port == 3
    written(Path("joinder.toml"), "port = 4")
    assert settings_from_env(env) == Settings(port=4)
    env["JOINDER_CONFIG"] = str(written(tmp_path / "mine.toml", "port = 5"))
    assert settings_from_env(env).port == 5
    env["JOINDER_CONFIG"] = os.devnull
    assert settings_from_env(env) == Settings()


def test_the_environment_comes_over_the_file_and_each_says_where_it_is_from(tmp_path: Path) -> None:
    url = written(tmp_path / "url", "sqlite:///by-a-file.sqlite3\n")
    path = written(tmp_path / "joinder.toml", f"port = 1\nhost = '::1'\ndatabase_url_file = '{url}'\n")
    env = {"JOINDER_CONFIG": str(path), "JOINDER_PORT": "2"}
    settings, origins = settings_and_origins(env)
    assert (settings.port, settings.host, settings.database_url) == (2, "::1", "sqlite:///by-a-file.sqlite3")
    assert origins == {"port": "JOINDER_PORT", "host": str(path), "database_url": f"{path}, by database_url_file"}
    assert settings_from_env({**env, "JOINDER_DATABASE_URL": "sqlite:///x"}).database_url == "sqlite:///x"


def test_every_setting_may_stand_in_it_as_toml_or_as_its_variable_is_written(tmp_path: Path) -> None:
    as_toml = """
        plugins = ["joinder-acme>=1,<2"]
        trusted_proxies = ["127.0.0.1/32"]
        refresh_deadline_s = 45
        [reroute]
        "api.acme.example" = "http://127.0.0.1:9001"
        [call_limits.acme]
        minute = 100
    """
    as_text = """
        plugins = "joinder-acme>=1,<2"
        trusted_proxies = "127.0.0.1/32,"
        refresh_deadline_s = "45"
        reroute = "api.acme.example=http://127.0.0.1:9001"
        call_limits = "acme:minute=100"
    """
    settings = [
        settings_from_env({"JOINDER_CONFIG": str(written(tmp_path / name, text))})
        for name, text in (("a", as_toml), ("b", as_text))
    ]
    assert settings[0] == settings[1]
    assert settings[0] == Settings(
        plugins=("joinder-acme>=1,<2",),
        trusted_proxies=("127.0.0.1/32",),
        refresh_deadline_s=45,
        reroute={"api.acme.example": "http://127.0.0.1:9001"},
        call_limits={"acme": {"minute": 100}},
    )
    assert plugins_from_env({"JOINDER_CONFIG": str(tmp_path / "a")}) == ("joinder-acme>=1,<2",)
    assert plugins_from_env({"JOINDER_CONFIG": str(tmp_path / "a"), "JOINDER_PLUGINS": ""}) == ()


def test_relative_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    text = "key_file = 'k'\ndatabase_url = 'sqlite:///d.sqlite3'\njournal_folder = '/var/j'\npublic_files = '~/p'"
    env = {"JOINDER_CONFIG": str(written(tmp_path / "hub/joinder.toml", text))}
    settings = settings_from_env(env)
    assert settings.key_file == f"{tmp_path}/hub/k"
    assert settings.database_url == f"sqlite:///{tmp_path}/hub/d.sqlite3"
    assert settings.journal_folder == "/var/j"
    assert settings.public_files == str(Path("~/p").expanduser())
    env["JOINDER_CONFIG"] = str(written(tmp_path / "hub/memory.toml", "database_url = 'sqlite:///'"))
    assert settings_from_env(env).database_url == "sqlite:///"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "prot is not a setting; did you mean port?"),
        ("[server]\nport = 1", "[server] is no table of settings; they stand without one, as port = 8080"),
        ("JOINDER_PORT = 1", "JOINDER_PORT is not a setting; did you mean port?"),
        ("KEY-FILE = 'k'", "did you mean key_file?"),
        ("databse_url_file = 'x'", "did you mean database_url_file?"),
        ("port = 1\nport = 2\nhost = 3", "is not TOML: Cannot overwrite a value (at line 2"),
        ("port = \nhost = 3", "is not TOML: Invalid value (at line 1"),
        (f"port = '{CANARY}'", "port must be a whole number"),
        ("port = true", "port must be a whole number"),
        ("port = [1]", "port must be a whole number"),
        ("refresh_deadline_s = 'soon'", "refresh_deadline_s must be a number"),
        ("refreshes_per_second = inf", "refreshes_per_second must lie between 1 and"),
        ("refresh_deadline_s = nan", "refresh_deadline_s must lie between"),
        ("log_format = 'xml'", "log_format must be one of auto, json, text"),
        ("call_limits = 7", "call_limits must be a table"),
        ("host = ''", "host must be an address of this machine, as 127.0.0.1"),
        ('host = "a\\u0000b"', "host holds a control character"),
        ('database_url = "sqlite:///a\\tb"', "database_url holds a control character"),
        ('plugins = ["a\\nb"]', "plugins holds a control character"),
        ("key_file = '~nobody-of-that-name/k'", "that home is not known: write the whole path"),
        ("port = 70000", "port must lie between 0 and 65535"),
        ("host = 1979-05-27", "host must be a text, in quotes"),
        ("plugins = [1]", "plugins must be a list of texts"),
        ("public_url = 'http://join.example'", "public_url must be an https origin"),
        ("call_limits = { acme = { hour = 1 } }", "no span is named hour; use minute, day, month"),
        ("call_limits = { acme = { day = 0 } }", "calls must be a whole number from 1"),
        ("reroute = { a = 'http://evil.example' }", "only go to a simulator on 127.0.0.1"),
        ("database_url = 'sqlite:///a'\ndatabase_url_file = 'b'", "sets database_url and database_url_file; keep one"),
        ("database_url_file = 'nowhere'", "nowhere cannot be read: No such file"),
        ("database_url_file = 7", "database_url_file must be the name of a file, in quotes"),
        ("database_url_file = '/dev/zero'", "/dev/zero is not a regular file"),
        ("a = " + "[" * 5000, "is not TOML"),
    ],
)
def test_what_cannot_work_is_a_sentence_with_the_file_and_the_key(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path / "joinder.toml", text)
    said = refused({"JOINDER_CONFIG": str(path)})
    assert says in said
    assert str(path) in said or "nowhere" in said


def test_a_file_that_cannot_be_one_is_a_sentence_and_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b"host = '\xe4'")
    (tmp_path / "large").write_text("#" * (MOST_BYTES + 1))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for name, says in {
        "folder": "is a directory; name the file in it",
        "missing": "does not exist; `joinder init`",
        "latin": "is not a text in UTF-8",
        "pipe": "is not a regular file",
        "large": "has more than 1 MiB",
        "link": "is a link that leads to no file",
        "loop": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
        "folder/../latin/below": "does not exist; `joinder init`",
    }.items():
        assert says in refused({"JOINDER_CONFIG": str(tmp_path / name)})
    assert "JOINDER_CONFIG is empty" in refused({"JOINDER_CONFIG": ""})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "is a directory; settings are a file of that name"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "is a link that leads to no file; mend or delete it"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_has_the_files_name_and_is_none_is_refused_not_passed_over(
    make: Callable[[Path], object], says: str
) -> None:
    make(Path("joinder.toml"))
    assert says in refused({})


def test_an_editors_mark_at_the_begin_of_the_file_is_none_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "joinder.toml"
    path.write_bytes(b"\xef\xbb\xbfport = 81\r\n")
    assert settings_from_env({"JOINDER_CONFIG": str(path)}).port == 81


def test_without_a_home_what_begins_with_one_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    assert "that home is not known" in refused({"JOINDER_CONFIG": "~/joinder.toml"})


def test_a_password_in_a_file_that_everybody_reads_is_refused(tmp_path: Path) -> None:
    for url in (f"postgresql://me:{CANARY}@db/x", f"postgresql://db/x?password={CANARY}"):
        path = written(tmp_path / "joinder.toml", f"database_url = '{url}'", 0o644)
        assert f"chmod 600 {path}" in refused({"JOINDER_CONFIG": str(path)})
        path.chmod(0o640)
        assert settings_from_env({"JOINDER_CONFIG": str(path)}).database_url == url
    path = written(tmp_path / "joinder.toml", "database_url = 'postgresql://me@db/x'", 0o644)
    assert settings_from_env({"JOINDER_CONFIG": str(path)}).database_url == "postgresql://me@db/x"


def test_a_file_somebody_else_could_have_put_here_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(Path("joinder.toml"), "port = 1", 0o602)
    assert "can be changed by everybody; run: chmod o-w" in refused({})
    path.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if path.stat().st_uid != 0:
        assert "belongs to another user" in refused({})
    else:
        os.chown(path, 4711, -1)
        assert "belongs to another user" in refused({})
    assert settings_from_env({"JOINDER_CONFIG": "joinder.toml"}).port == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    Path("joinder.toml").symlink_to(written(tmp_path / "mine.toml", "port = 1"))
    assert settings_from_env({}).port == 1
    os.lchown("joinder.toml", 4711, -1)
    assert "belongs to another user" in refused({})
