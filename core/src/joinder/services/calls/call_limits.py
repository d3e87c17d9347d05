"""Settings that name vendors; and the calls an operator's own plan allows, in place of a vendor's smallest plan's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from msgspec import structs

from joinder.settings import ConfigError, Settings
from joinder.vendor import Vendor
from joinder.vendors.registry import Registry


def apply_settings_of_vendors(registry: Registry, settings: Settings) -> None:
    """Applies what the settings say of single vendors. Raises ConfigError for a vendor nobody knows."""
    check_names(registry, "JOINDER_PASSWORD_GRANTS", settings.password_grants)
    apply_call_limits(registry, settings.call_limits)


def check_names(registry: Registry, setting: str, names: Iterable[str]) -> None:
    """Raises ConfigError for a vendor that no installed plugin is, with what was probably meant."""
    known = {entry.name for entry in registry.installed}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"installed: {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"{setting}: no vendor is named {name}; {hint}")


def apply_call_limits(registry: Registry, limits: Mapping[str, Mapping[str, int]]) -> None:
    """Applies `limits` (vendor → span → calls): from here on every look at these vendors' limits sees them.

    Raises ConfigError for a vendor nobody knows. One whose plugin does not work, or is not enabled, is passed over: a
    broken plugin stops no start.
    """
    check_names(registry, "JOINDER_CALL_LIMITS", limits)
    for name, spans in limits.items():
        registry.change(name, lambda vendor, spans=spans: _limited(vendor, spans))  # type: ignore[misc]


def _limited(vendor: Vendor, spans: Mapping[str, int]) -> Vendor:
    """Puts the operator's numbers in place of the app's; those of grants and sites stay the vendor's."""
    named = {f"calls_per_{span}": most for span, most in spans.items()}
    left = tuple(rate for rate in vendor.limits.calls if rate.scope != "app" or rate.per not in spans)
    return structs.replace(vendor, limits=structs.replace(vendor.limits, calls=left, **named))
