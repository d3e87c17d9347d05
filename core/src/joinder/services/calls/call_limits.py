"""The calls an operator's own plan allows, in place of those a vendor's smallest plan allows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from msgspec import structs

from joinder.settings import ConfigError
from joinder.vendor import Vendor
from joinder.vendors.registry import Registry


def apply_call_limits(registry: Registry, limits: Mapping[str, Mapping[str, int]]) -> None:
    """Applies `limits` (vendor → span → calls): from here on every look at these vendors' limits sees them.

    Raises ConfigError for a vendor nobody knows. One whose plugin does not work, or is not enabled, is passed over: a
    broken plugin stops no start.
    """
    known = {entry.name for entry in registry.installed}
    for name, spans in limits.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"installed: {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"JOINDER_CALL_LIMITS: no vendor is named {name}; {hint}")
        registry.change(name, lambda vendor, spans=spans: _limited(vendor, spans))  # type: ignore[misc]


def _limited(vendor: Vendor, spans: Mapping[str, int]) -> Vendor:
    """Puts the operator's numbers in place of the app's; those of grants and sites stay the vendor's."""
    named = {f"calls_per_{span}": most for span, most in spans.items()}
    left = tuple(rate for rate in vendor.limits.calls if rate.scope != "app" or rate.per not in spans)
    return structs.replace(vendor, limits=structs.replace(vendor.limits, calls=left, **named))
