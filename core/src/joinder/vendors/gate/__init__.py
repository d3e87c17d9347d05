"""The one gate through which everything that a hook answers passes before it is stored or served.

Core believes nothing: a plugin may be anybody's, and its vendor may say anything. What does not hold is dropped alone,
a value, a row or a device; the rest counts. Each drop is noted by its rule (rules.py) for the operator. An answer that
is useless as a whole is UnexpectedPayload. Begin reading at readings.py. Imports the plugin API's modules only.
"""

from __future__ import annotations

from joinder.vendors.gate.consents import check_continuation, checked_consent, checked_grant
from joinder.vendors.gate.readings import Judged, checked_readings, checked_stored
from joinder.vendors.gate.rules import Rule
from joinder.vendors.gate.sites import checked_site

__all__ = [
    "Judged",
    "Rule",
    "check_continuation",
    "checked_consent",
    "checked_grant",
    "checked_readings",
    "checked_site",
    "checked_stored",
]
