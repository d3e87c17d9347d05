"""Compares what uv.lock pins with advisories in a file, without a network (`make advisories OSV=FILE`).

    .venv/bin/python tests/advisories.py FILE [--except ID ...]

FILE is in the OSV format (ossf.github.io/osv-schema): the zip that OSV offers of all of PyPI, a folder of such records,
or JSON of one record, a list, or an answer of its API. `--except` names one that is known and does no harm here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOCK = Path(__file__).parents[1] / "uv.lock"
Record = Mapping[str, Any]


class Unreadable(Exception):
    """The file holds no advisories; the text says what it holds."""


def records(path: Path) -> Iterator[Record]:
    """Reads every advisory of a file. Raises Unreadable."""
    try:
        texts = list(_texts(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise Unreadable(f"{path} cannot be read: {error}") from None
    for name, text in texts:
        try:
            told = json.loads(text)
            found = told.get("vulns", [told]) if isinstance(told, dict) else told
            yield from (_known(one) for one in found)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreadable(f"{name} is not in the OSV format: see ossf.github.io/osv-schema") from None


def _texts(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        yield from ((str(each), each.read_bytes()) for each in sorted(path.rglob("*.json")))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            yield from ((name, packed.read(name)) for name in packed.namelist() if name.endswith(".json"))
    else:
        yield str(path), path.read_bytes()


def _known(record: Record) -> Record:
    """Raises where it is no record: an empty check of another file would look like a clean one."""
    if not isinstance(record["id"], str) or not isinstance(record["affected"], list):
        raise TypeError
    return record


def locked(path: Path = LOCK) -> dict[str, str]:
    """Returns version by name, of what comes from a registry."""
    packages = tomllib.loads(path.read_text())["package"]
    return {canonicalize_name(one["name"]): one["version"] for one in packages if "registry" in one["source"]}


def matches(packages: Mapping[str, str], advisories: Sequence[Record]) -> list[tuple[str, str, Record]]:
    """Returns package, version and advisory, of every pair that belongs together."""
    return [
        (name, packages[name], record)
        for record in advisories
        if not record.get("withdrawn")
        for name in sorted({_name(one) for one in record["affected"]} & packages.keys())
        if any(_affects(one, packages[name]) for one in record["affected"] if _name(one) == name)
    ]


def _name(affected: Mapping[str, Any]) -> str:
    package = affected.get("package", {})
    return canonicalize_name(package.get("name", "")) if package.get("ecosystem") == "PyPI" else ""


def _affects(affected: Mapping[str, Any], version: str) -> bool:
    ranges = [one["events"] for one in affected.get("ranges", []) if one["type"] in ("ECOSYSTEM", "SEMVER")]
    is_listed = any(_version(one) == Version(version) for one in affected.get("versions", []))
    return is_listed or any(_holds(events, Version(version)) for events in ranges)


def _holds(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    """Follows the events of a range up to this version; what cannot be compared counts as affected."""
    is_affected = False
    for at, what in sorted(((_version(at), what) for event in events for what, at in event.items()), key=_in_order):
        if at is None:
            return True
        if what == "introduced" and version >= at:
            is_affected = True
        elif (what == "fixed" and version >= at) or (what == "last_affected" and version > at):
            is_affected = False
    return is_affected


def _in_order(event: tuple[Version | None, str]) -> tuple[bool, Version, bool]:
    at, what = event
    return at is not None, at or Version("0"), what != "introduced"


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def main(path: Path, known: Sequence[str]) -> int:
    """Prints a line each; 1 where there is any, 2 where the file cannot be read."""
    try:
        advisories, packages = list(records(path)), locked()
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 2
    found = [one for one in matches(packages, advisories) if not _ids(one[2]) & set(known)]
    for name, version, record in found:
        print(f"{name} {version}: {', '.join(sorted(_ids(record)))} {record.get('summary', '')}".rstrip())
    newest = max((str(record.get("modified", "")) for record in advisories), default="")[:10] or "nobody knows when"
    print(f"{len(packages)} packages, {len(advisories)} advisories, the newest of {newest}: {len(found)} apply")
    return 1 if found else 0


def _ids(record: Record) -> set[str]:
    return {record["id"], *record.get("aliases", [])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--except", dest="known", nargs="*", default=[])
    asked = parser.parse_args()
    sys.exit(main(asked.file, asked.known))
