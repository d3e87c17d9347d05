"""What an entry of JOINDER_PLUGINS asks of a distribution: versions, and, where one likes, every byte of it.

`joinder-acme>=1.2,<2`, or `joinder-acme==1.2 sha256:…`: the hash of what its RECORD lists, whose files must be as they
are listed. It does not depend on who installed it, pip or uv, nor on where.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.metadata import Distribution, PackagePath
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_HEX = re.compile(r"[0-9a-f]{64}")
_INSTALLERS = frozenset({"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_build.json", "uv_cache.json"})


class NoContent(ValueError):
    """There is no hash of what is installed; the text says why."""


class Pin(NamedTuple):
    """One entry of the list."""

    requirement: Requirement
    content: str | None = None

    @classmethod
    def of(cls, text: str) -> Pin:
        """Raises InvalidRequirement."""
        required, *content = text.strip().split(" sha256:", 1)
        if content and not _HEX.fullmatch(content[0]):
            raise InvalidRequirement("sha256: is followed by 64 digits of hex")
        return cls(Requirement(required), f"sha256:{content[0]}" if content else None)

    def is_of(self, distribution: str) -> bool:
        """Compares names as the registry of packages does."""
        return canonicalize_name(self.requirement.name) == canonicalize_name(distribution)

    def misfit(self, distribution: Distribution | None) -> str | None:
        """Says how what is installed is another than what is meant: `X, not Y`."""
        version = distribution.version if distribution else "?"
        if not fits(self.requirement, version):
            return f"{self.requirement}, not {version}"
        if self.content is None or distribution is None:
            return None
        try:
            found = content_of(distribution)
        except NoContent as error:
            return f"{self.requirement.name} with {self.content}, but {error}"
        return None if found == self.content else f"{self.requirement.name} with {self.content}, not {found}"


def fits(wanted: Requirement, version: str) -> bool:
    return not wanted.specifier or wanted.specifier.contains(version, prereleases=True)


def content_of(distribution: Distribution) -> str:
    """Returns one hash of all files that came with it, once each was read and is as listed. Raises NoContent."""
    if _is_editable(distribution):
        raise NoContent("it is an editable install, whose files are listed nowhere")
    listed = [file for file in distribution.files or () if _came_with_it(file)]
    if not any(file.suffix == ".py" for file in listed):
        raise NoContent("its RECORD lists no module")
    for file in listed:
        _check(file)
    lines = sorted(f"{file.as_posix()} {file.hash.mode}={file.hash.value}\n" for file in listed if file.hash)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _is_editable(distribution: Distribution) -> bool:
    told = json.loads(distribution.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


def _came_with_it(file: PackagePath) -> bool:
    """Tells the wheel's own files from those that an installer writes, or writes differently."""
    is_installers = file.parent.suffix == ".dist-info" and file.name in _INSTALLERS
    return file.parts[0] != ".." and file.suffix != ".pyc" and not is_installers


def _check(file: PackagePath) -> None:
    if file.hash is None:
        raise NoContent(f"its RECORD has no hash of {file}")
    try:
        made = hashlib.new(file.hash.mode, Path(file.locate()).read_bytes())
    except (OSError, ValueError) as error:
        raise NoContent(f"{file} cannot be compared with its RECORD ({type(error).__name__})") from None
    if base64.urlsafe_b64encode(made.digest()).rstrip(b"=").decode() != file.hash.value:
        raise NoContent(f"{file} is not as its RECORD lists it")
