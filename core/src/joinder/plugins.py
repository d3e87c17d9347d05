"""Which installed distributions may be imported: what JOINDER_PLUGINS names, for whatever loads an entry point.

Loading a plugin is trust, so nothing of one that is not named is imported, and a name that two distributions bring is
nobody's, unless the store says whose it is (store/claims.py). A distribution is named as on PyPI, with the versions, or
the very files, that are meant where one likes (plugin_pins.py).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from joinder.plugin_pins import NoContent, Pin, content_of, fits

VARIABLE = "JOINDER_PLUGINS"
OWN = "joinder"  # what core brings itself needs no naming


@dataclass(frozen=True, kw_only=True)
class Found:
    """An entry point; `refusal` says why it is not loaded.

    `is_contested`: for no other reason than that another distribution brings the same name.
    """

    entry: EntryPoint
    refusal: str | None = None
    is_contested: bool = False

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
    named = None if allow is None else [Pin.of(part) for part in allow]
    all_found = [Found(entry=entry, refusal=_not_named(entry, named)) for entry in sorted(entries)]
    ours = importlib.metadata.version(OWN)
    return [one if one.refusal is not None else _fitting(one, all_found, ours) for one in all_found]


def _fitting(one: Found, others: Iterable[Found], ours: str) -> Found:
    twice, unfit = _claimed_twice(one, others), _wants_other(one.entry, ours)
    return Found(entry=one.entry, refusal=twice or unfit, is_contested=twice is not None and unfit is None)


def pins() -> list[tuple[str, str | None]]:
    """Returns, for every other distribution that is installed, the entry that names just it, and why it has no hash."""
    named = {canonicalize_name(one.name): one for one in distributions() if _brings_something(one)}
    return [_pinned(named[name]) for name in sorted(named) if name != OWN]


def _brings_something(distribution: Distribution) -> bool:
    return any(entry.group.startswith(f"{OWN}.") for entry in distribution.entry_points)


def _pinned(distribution: Distribution) -> tuple[str, str | None]:
    named = f"{distribution.name}=={distribution.version}"
    try:
        return f"{named} {content_of(distribution)}", None
    except NoContent as error:
        return named, f"{distribution.name} is named by its version alone: {error}."


def loadable(group: str, allow: Collection[str] | None) -> dict[str, EntryPoint]:
    """Those that may be loaded, by name. Raises as `found`."""
    return {one.entry.name: one.entry for one in found(group, allow) if one.refusal is None}


def _not_named(entry: EntryPoint, named: Collection[Pin] | None) -> str | None:
    distribution = entry.dist.name if entry.dist else "?"
    if named is None or canonicalize_name(distribution) == OWN:
        return None
    wanted = [one for one in named if one.is_of(distribution)]
    if not wanted:
        return f"found, not enabled: add {distribution} to {VARIABLE} to load it"
    misfits = (one.misfit(entry.dist) for one in wanted)
    misfit = next((text for text in misfits if text is not None), None)
    return f"found, not enabled: {VARIABLE} wants {misfit}" if misfit else None


def _claimed_twice(one: Found, others: Iterable[Found]) -> str | None:
    name = one.entry.name
    claimed_by = sorted({other.distribution for other in others if other.entry.name == name and not other.refusal})
    if len(claimed_by) < 2:
        return None
    return f"{' and '.join(claimed_by)} both bring {name}; name one of them in {VARIABLE}"


def _wants_other(entry: EntryPoint, ours: str) -> str | None:
    """Says which Joinder its distribution needs, where that is another than this one."""
    for text in (entry.dist.requires or ()) if entry.dist else ():
        if not text.lower().startswith(OWN):  # reading every requirement takes each command longer than all the rest
            continue
        needed = _requirement(text)
        if needed is None or canonicalize_name(needed.name) != OWN or needed.marker is not None:
            continue
        if not fits(needed, ours):
            return f"it needs joinder{needed.specifier}, this is {ours}: upgrade the older of the two"
    return None


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:  # of somebody else's metadata
        return None


def _check_installed(allow: Collection[str]) -> None:
    from joinder.settings import ConfigError

    for one in map(Pin.of, allow):
        try:
            installed = Distribution.from_name(one.requirement.name)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"{VARIABLE} names {one.requirement.name}, which is not installed") from None
        if (misfit := one.misfit(installed)) is not None:
            raise ConfigError(f"{VARIABLE} wants {misfit}")
