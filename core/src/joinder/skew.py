"""How far this machine's clock is from the vendors', seen in the Date of their answers (RFC 9110 §6.6.1)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from joinder.observe.log_context import bound

ALARMING_S = 30.0
KEPT_S = 600.0  # the largest of this long, so that a clock set right is seen to be
log = logging.getLogger("joinder.clock")


class ClockSkew:
    """Of one process, by vendor: positive when the vendor's clock is ahead of ours."""

    def __init__(self) -> None:
        self._largest: dict[str, tuple[float, float]] = {}  # vendor → seconds, when seen
        self._told: set[str] = set()

    def seen(self) -> Mapping[str, float]:
        """Returns vendor → seconds by which its clock is ahead of ours, negative when behind.

        They are the largest of the last minutes in which it answered.
        """
        return {vendor: skew_s for vendor, (skew_s, _) in self._largest.items()}

    def note(self, headers: Mapping[str, str]) -> None:
        """Notes the clock of an answer that just came, with lower-case header names.

        What a cache kept (Age) says nothing of a clock.
        """
        vendor = bound().get("vendor")
        if vendor is None or "date" not in headers or "age" in headers:
            return
        at = time.time()
        try:
            skew_s = parsedate_to_datetime(headers["date"]).timestamp() - at
        except (ValueError, TypeError, OverflowError):
            return
        skew_s = min(0.0, skew_s + 1) if skew_s < 0 else skew_s  # Date has whole seconds, cut off
        largest_s, since = self._largest.get(vendor, (0.0, 0.0))
        if abs(skew_s) >= abs(largest_s) or at - since > KEPT_S:
            self._largest[vendor] = (skew_s, at)
        self._warn(vendor, skew_s)

    def _warn(self, vendor: str, skew_s: float) -> None:
        """Warns once, until the clocks agree again."""
        if abs(skew_s) <= ALARMING_S:
            self._told.discard(vendor)
        elif vendor not in self._told:
            self._told.add(vendor)
            direction = "behind" if skew_s > 0 else "ahead of"
            log.warning("this machine's clock is %.0f s %s that of %s: set it right", abs(skew_s), direction, vendor)
