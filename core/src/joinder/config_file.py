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

from joinder import small_files

VARIABLE = "JOINDER_CONFIG"
NAME = "joinder.toml"
SYSTEM = Path("/etc/joinder") / NAME


class ConfigError(Exception):
    """A setting that cannot work; the text names it and says what to do. Exit code 78."""


class NotDone(ConfigError):
    """No setting is wrong: this machine did not carry out what was asked, as on a full disk. Exit code 1."""


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
        text = small_files.text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} cannot be read: it is gone") from None
    except small_files.Unreadable as why:
        raise ConfigError(f"{path} {why}") from None
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
    try:
        path = small_files.path_of(text)
        mode = path.stat().st_mode
    except small_files.Unreadable as why:
        raise ConfigError(f"{VARIABLE}: {text} {why}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{text} {_missing(path)}") from None
    except OSError as error:
        raise ConfigError(f"{text} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{VARIABLE} cannot be a file: {error}") from None
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{path} is a directory; name the file in it, as {path / NAME}")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path} is not a regular file, which can be read more than once")
    return path.absolute()


def _missing(path: Path) -> str:
    if path.is_symlink():
        return "is a link that leads to no file"
    return f"does not exist; `joinder init` writes a {NAME}"


def _is_there(path: Path) -> bool:
    """Tells whether something has this name. What has it and is no file is refused, not passed over."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise ConfigError(f"{path.absolute()} {_missing(path)}; mend or delete it") from None
        return False
    except PermissionError:
        return False
    except OSError as error:
        raise ConfigError(f"{path.absolute()} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{path.absolute()} is a directory; settings are a file of that name")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path.absolute()} is not a regular file, which can be read more than once")
    return True


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
