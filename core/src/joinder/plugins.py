"""Which installed distributions may be imported: what JOINDER_PLUGINS names, for whatever loads an entry point.

Loading a plugin is trust, so nothing of one that is not named is imported, and a name that two distributions claim is
nobody's. A distribution is named as on PyPI, with the versions that are meant where one likes: `joinder-acme>=1.2,<2`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

VARIABLE = "JOINDER_PLUGINS"
OWN = "joinder"  # what core brings itself needs no naming


@dataclass(frozen=True, kw_only=True)
class Found:
    """An entry point; `refusal` says why it is not loaded."""

    entry: EntryPoint
    refusal: str | None = None

    @property
    def distribution(self) -> str:
        return self.entry.dist.name if self.entry.dist else "?"

    @property
    def version(self) -> str:
        return self.entry.dist.version if self.entry.dist else "?"


def found(group: str, allow: Collection[str] | None, *, name: str | None = None) -> list[Found]:
    """Every installed entry point of the group, or of this name there, sorted. None is imported.

    `allow` None: all may be loaded. Raises ConfigError where it names what is not installed in that version.
    """
    if allow:
        _check_installed(allow)
    return judged(entry_points(group=group) if name is None else entry_points(group=group, name=name), allow)


def judged(entries: Iterable[EntryPoint], allow: Collection[str] | None) -> list[Found]:
    """The same of entry points that were found already."""
    named = None if allow is None else [Requirement(part) for part in allow]
    all_found = [Found(entry=entry, refusal=_not_named(entry, named)) for entry in sorted(entries)]
    return [Found(entry=one.entry, refusal=one.refusal or _unfit(one, all_found)) for one in all_found]


def _unfit(one: Found, others: Iterable[Found]) -> str | None:
    return _claimed_twice(one, others) or _wants_other(one.entry)


def loadable(group: str, allow: Collection[str] | None) -> dict[str, EntryPoint]:
    """Those that may be loaded, by name. Raises as `found`."""
    return {one.entry.name: one.entry for one in found(group, allow) if one.refusal is None}


def _not_named(entry: EntryPoint, named: Collection[Requirement] | None) -> str | None:
    distribution, version = (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
    if named is None or canonicalize_name(distribution) == OWN:
        return None
    wanted = [one for one in named if canonicalize_name(one.name) == canonicalize_name(distribution)]
    if not wanted:
        return f"found, not enabled: add {distribution} to {VARIABLE} to load it"
    if not all(_fits(one, version) for one in wanted):
        return f"found, not enabled: {VARIABLE} wants {wanted[0]}, not {version}"
    return None


def _claimed_twice(one: Found, others: Iterable[Found]) -> str | None:
    name = one.entry.name
    claimed_by = sorted({other.distribution for other in others if other.entry.name == name and not other.refusal})
    if len(claimed_by) < 2:
        return None
    return f"{' and '.join(claimed_by)} both bring {name}; name one of them in {VARIABLE}"


def _wants_other(entry: EntryPoint) -> str | None:
    """Says which Joinder its distribution needs, where that is another than this one."""
    for text in (entry.dist.requires or ()) if entry.dist else ():
        needed = _requirement(text)
        if needed is None or canonicalize_name(needed.name) != "joinder" or needed.marker is not None:
            continue
        ours = importlib.metadata.version("joinder")
        if not _fits(needed, ours):
            return f"it needs joinder{needed.specifier}, this is {ours}: upgrade the older of the two"
    return None


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:  # of somebody else's metadata
        return None


def _check_installed(allow: Collection[str]) -> None:
    from joinder.settings import ConfigError

    for part in allow:
        wanted = Requirement(part)
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"{VARIABLE} names {wanted.name}, which is not installed") from None
        if not _fits(wanted, version):
            raise ConfigError(f"{VARIABLE} wants {part}; {version} is installed")


def _fits(wanted: Requirement, version: str) -> bool:
    return not wanted.specifier or wanted.specifier.contains(version, prereleases=True)
