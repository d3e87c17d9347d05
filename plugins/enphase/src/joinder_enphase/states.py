"""What Enphase says about the state of a system or device, in plain words.

Words and meanings follow the vendor's table of statuses (developer-v4.enphase.com/docs.html and /docs/vpp_api); those
that tell of no trouble (normal, info, muted, disabled, storage_idle and their like) are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

_MEANINGS = {
    "deactivated": "the system is deactivated",
    "comm": "the gateway does not report",
    "micro": "micro-inverters do not report",
    "power": "something is wrong with the production",
    "meter": "a meter does not report",
    "meter_issue": "something is wrong with a meter",
    "battery": "batteries do not report",
    "encharge": "batteries do not report",
    "encharge_issue": "something is wrong with a battery",
    "enpower": "the system controller does not report",
    "enpower_issue": "something is wrong with the system controller",
    "iq_collar": "the meter collar does not report",
    "nsr": "a relay does not report",
    "warning": "there is a warning",
    "error": "there is an error",
    "any": "there is a problem",
    "no_data": "there is no data",
    "rma": "a device is to be replaced",
    "off_grid": "the home is off the grid",
}
_SILENT = {"comm", "micro", "meter", "battery", "encharge", "no_data"}
GENERATOR = "A generator is running, and no meter read here sees it: the load told is too low by its power"


def warning(status: str | None) -> str | None:
    """Says in a sentence what is wrong with the whole system; None where nothing is."""
    meaning = _MEANINGS.get(_word(status))
    return f"Enphase says about this system: {meaning}" if meaning else None


def faults(status: str | None) -> tuple[str, ...]:
    """Says in plain words what is wrong with one device."""
    word = _word(status)
    if word in _SILENT:
        return ("does not report",)
    return (_MEANINGS[word],) if word in _MEANINGS else ()


def is_silent(status: str | None) -> bool:
    return _word(status) in _SILENT


def runs(generators: Iterable[str | None]) -> bool:
    return any(_word(status) == "on" for status in generators)


def _word(status: str | None) -> str:
    return (status or "").strip().lower()
