"""The one file of settings that every command reads: where it is looked for, and what it holds. Imports nothing heavy.

The first that is there counts: `--config` or JOINDER_CONFIG, ./joinder.toml, $XDG_CONFIG_HOME/joinder/joinder.toml
(~/.config), /etc/joinder/joinder.toml. Files are never merged.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "JOINDER_CONFIG"
NAME = "joinder.toml"
SYSTEM = Path("/etc/joinder") / NAME


class ConfigError(Exception):
    """A setting that cannot work; the text names it and says what to do. Exit code 78."""


def candidates(env: Mapping[str, str]) -> list[Path]:
    """Lists where a file is looked for when none is named."""
    homes = [env["XDG_CONFIG_HOME"]] if env.get("XDG_CONFIG_HOME") else []
    if not homes and env.get("HOME"):
        homes = [f"{env['HOME']}/.config"]
    return [Path(NAME), *(Path(home) / "joinder" / NAME for home in homes), SYSTEM]


def found(env: Mapping[str, str]) -> Path | None:
    """Returns the file that counts, as an absolute path. Raises ConfigError when one is named that cannot be it."""
    if VARIABLE in env:
        return _named(env[VARIABLE])
    for path in candidates(env):
        if _is_there(path):
            _check_owner(path)
            return path.absolute()
    return None


def contents(path: Path) -> dict[str, Any]:
    """Reads the file. Raises ConfigError with its name, never with what it holds."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text in UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {_where(error)}") from None


def is_read_by_others(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IROTH)


def _named(text: str) -> Path | None:
    """Returns the file that was named; None for /dev/null, which stands for none."""
    if not text:
        raise ConfigError(f"{VARIABLE} is empty: name a file, or {os.devnull} for none")
    if text == os.devnull:
        return None
    path = Path(text).expanduser()
    if path.is_dir():
        raise ConfigError(f"{path} is a directory; name the file in it, as {path / NAME}")
    if not path.exists():
        raise ConfigError(f"{path} does not exist; `joinder init` writes a {NAME}")
    if not path.is_file():
        raise ConfigError(f"{path} is not a regular file, which can be read more than once")
    return path.absolute()


def _is_there(path: Path) -> bool:
    """Tells whether something has this name. A directory that has it is refused, not passed over."""
    try:
        if path.is_dir():
            raise ConfigError(f"{path.absolute()} is a directory; settings are a file of that name")
        return path.is_file()
    except PermissionError:
        return False


def _check_owner(path: Path) -> None:
    """Refuses what somebody else could have put where one happens to stand."""
    state = path.stat()
    if not {state.st_uid, path.lstat().st_uid} <= {os.geteuid(), 0}:  # nor may a link of theirs lead here
        raise ConfigError(f"{path.absolute()} belongs to another user; name it with --config if it is meant")
    if state.st_mode & stat.S_IWOTH:
        raise ConfigError(f"{path.absolute()} can be changed by everybody; run: chmod o-w {path.absolute()}")


def _where(error: Exception) -> str:
    """Says line and column; the rest of tomllib's sentences may quote a letter, never a value."""
    return str(error) if isinstance(error, tomllib.TOMLDecodeError) else "its tables lie too deep"
