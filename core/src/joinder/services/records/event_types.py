"""Every type of event, and what it means to whoever gets it. `data` is stored as it goes out: wire names, no secret."""

from __future__ import annotations

TEST = "webhook.test"
DISABLED = "webhook.disabled"
READINGS_UPDATED = "readings.updated"
OPT_IN = frozenset({READINGS_UPDATED})  # told only to who names the type

EVENT_TYPES: dict[str, str] = {
    "enrollment.created": "An owner, or an operator's credentials, opened a system.",
    "enrollment.reconnected": "A newer consent replaced the enrollment's grant; ids and history stayed.",
    "enrollment.health": "The connection went `from` one state `to` another, for a `reason` where there is one.",
    "site.ready": "The site `siteID` was read for the first time: it is on the lists from now on.",
    "site.discovered": "A newer list of the grant's sites holds `siteID`, which was unknown or gone; it is read next.",
    "site.gone": "No grant lists the site `siteID` any more, for a `reason`: it is read no more, its history stays.",
    "site.changed": "The vendor tells another `name`, `location` or `timezone` of the site `siteID`: see `changed`.",
    "device.discovered": (
        "The site `siteID` lists the device `deviceID`, which was unknown or gone. `site.ready` tells of those it was "
        "first read with. `kind`: `solarInverter`, `battery`, `meter` or `charger`."
    ),
    "device.gone": "The site `siteID` lists the device `deviceID` (`kind`) no more; its history stays.",
    READINGS_UPDATED: (
        "New readings of the site `siteID` are stored: periods of `resolution` (`15mins` or `day`) from `start` to "
        "`end`. Sent only to webhooks whose `types` name it; kept for a week."
    ),
    "enrollment.expiring": "The grant ends at `expiresAt`, for a `reason`, and nothing has renewed it yet.",
    "enrollment.approved": "The vendor approved the enrollment; its data is read from now on.",
    "enrollment.rejected": "The vendor, or the operator, decided against the enrollment, for a `reason`.",
    "enrollment.applied": "A customer applied to the enrollment's programme `programID`.",
    "enrollment.resubmit_requested": "The operator asks the customer to apply again, for a `reason`.",
    "enrollment.unenrolled": "The operator, or the vendor, ended its part in its programme, for a `reason`.",
    "enrollment.site_moved": "The site `siteID` is read by this enrollment, not by `from`; or by `to` from now on.",
    "enrollment.paused": "The operator paused it: nothing is read until it is resumed, and its token is kept alive.",
    "enrollment.resumed": "The operator resumed it.",
    "backfill.done": "The job `backfillID` has read the history that was asked for.",
    "backfill.failed": "The job `backfillID` gave up after a day without progress, for a `reason`.",
    "enrollment.deleted": (
        "The enrollment ended; its tokens, sites, devices and readings are erased. `revocation`: `requested` where its "
        "vendor is told, else `none`. `by: owner` where the owner ended it on a page of ours. `continuesAs`: the "
        "owner's other one, which has the grant."
    ),
    "enrollment.revoked": (
        "What became of an ended enrollment's consent, by `how`: `at vendor`, `failed` (the vendor could not be told "
        "for a day), `kept` (another enrollment lives on it), `owner ends it at the vendor` (Joinder cannot)."
    ),
    "join.failed": "An owner did not come through a join: the `code` of it, a `reason`, and the `actor` who must act.",
    DISABLED: "The endpoint `webhookID` gets nothing any more, for a `reason`; your other endpoints hear of it.",
    TEST: "You asked for it: POST /webhooks/{id}/test.",
}
