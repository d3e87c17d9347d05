"""The state of the simulated Grid Services: scenario owners, their sites, and what becomes of an application."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from joinder.simulate.clock import SimulatedClock
from joinder.simulate.oauth import Family, TokenRefused, TokenService, basic, bearer
from joinder_enphase.simulator_systems import Body, page_of
from joinder_enphase_vpp.simulator_sites import AskedOfSite, Refused, SimulatedSite, listed, site_answer

HOST = "vpp.enphaseenergy.com"
CONSENT_HOST = "consent.enphase-simulator.example"
PROGRAM_ID = "simulated_battery_programme_CA"
APP = {
    "vendor": "enphasevpp",
    "type": "vpp",
    "clientID": "6n2simulatedgridservices",
    "clientSecret": "simulated-grid-services-secret",
    "apiKey": "simulated-grid-services-key",
    "consentAuthorizeURL": f"https://{CONSENT_HOST}/consent/authorize",
    "consentTokenURL": f"https://{CONSENT_HOST}/consent/token",
    "consentClientID": "simulated-consent-client",
    "consentClientSecret": "simulated-consent-secret",
    "consentScope": "enrollment",
}
OWNERS = (
    "grants",
    "auto-approved",
    "rejected",
    "site-rejected",
    "withdraws",
    "already-enrolled",
    "other-state",
    "unauthorised",
    "token-expired",
    "no-site",
    "denies",
    "odd-battery",
    "odd-meter",
    "odd-micros",
    "odd-load",
)
SITES = {
    owner: SimulatedSite(
        system_id=698_900_001 + number,
        name=f"Grid Services home {number + 1}",
        state="VT" if owner == "other-state" else "CA",
        config_type="Total" if owner == "auto-approved" else "Net",
        odd=owner.removeprefix("odd-") if owner.startswith("odd-") else "",
        metered=owner != "odd-micros",
    )
    for number, owner in enumerate(OWNERS)
}
_OWNER_OF = {site.system_id: owner for owner, site in SITES.items()}
_APPROVED = ("Application_Submitted", "Application_Approved", "Site_Submitted", "Site_Approved")
_STEPS = {
    "auto-approved": ("Application_Approved",),
    "rejected": ("Application_Submitted", "Application_Rejected"),
    "site-rejected": (*_APPROVED[:3], "Site_Rejected"),
    "withdraws": ("Application_Submitted", "Application_Withdrawn"),
}
_UNENROLMENT_S = 3 * 86400  # "3 business days"; weekends do not count double here
_NOT_ENROLLED = "Site is not enrolled in any program which belongs to your account."


@dataclass
class Application:
    application_id: int
    site: SimulatedSite
    submitted_at: float
    steps: tuple[str, ...]
    leaves_at: float | None = None  # unenrolled from then on


class Cloud:
    """The vendor's state and its dials.

    `step_s` is how long one step of a review takes; `lag_s` delays rows after their end; `neighbours` enrols that many
    further sites, for lists of many pages; `site_named_in` is where the consent names its site: token or callback.
    What a route of the API answers is a method here; it raises Refused.
    """

    def __init__(
        self, *, step_s: float = 1.0, lag_s: int = 0, neighbours: int = 0, site_named_in: str = "token"
    ) -> None:
        self.clock = SimulatedClock()
        self.machine = TokenService(
            self.clock,
            {APP["clientID"]: APP["clientSecret"]},
            access_life_s=3600,
            refresh_life_s=0,
            refused={"client": (401, "Authorization is not provided or invalid")},
        )
        self.owners = TokenService(
            self.clock,
            {APP["consentClientID"]: APP["consentClientSecret"]},
            access_life_s=3600,
            refresh_life_s=0,
        )
        self.step_s, self.lag_s, self.site_named_in = step_s, lag_s, site_named_in
        self.applications: dict[int, Application] = {}
        self.calls: Counter[str] = Counter()
        self._neighbours = [
            SimulatedSite(system_id=698_800_001 + 1000 * number, name=f"Neighbour {number}", battery_wh=0)
            for number in range(neighbours)
        ]

    def machine_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Body:
        given = headers.get("authorization", "")
        client_id, client_secret = basic(given if given.lower().startswith("basic ") else f"Basic {given}")
        form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if not form or "application/json" not in headers.get("accept", ""):
            raise Refused(400, "Invalid parameter or headers", "Request header Content-Type must be …")
        if query.get("grant_type") != "client_credentials":
            raise Refused(401, "grant_type is not provided or invalid")
        try:
            self.machine.check_client(client_id, client_secret)
        except TokenRefused as refused:
            raise Refused(refused.status, refused.error) from None
        issued = self.machine.issue(Family(client_id, "machine"))
        return {"access_token": issued.access_token, "expires_in": 3600, "token_type": "Bearer"}

    def admit(self, headers: Mapping[str, str]) -> None:
        if headers.get("x-api-key") != APP["apiKey"]:
            raise Refused(403, "Forbidden", envelope=False)
        if self.machine.holder(bearer(headers.get("authorization", ""))) is None:
            raise Refused(401, "Authorization is not provided or invalid", "Please check your Authorization")

    def apply(self, owner_token: str | None, form: Mapping[str, str]) -> str:
        """Answers with one plain sentence."""
        asked = _form(form.get("application_form"))
        site = _site(asked.site_id)
        if asked.program_id != PROGRAM_ID:
            raise Refused(403, "Please provide valid Program ID", "Please provide valid Program ID")
        if "unenrollment" in form.get("application_type", ""):
            return self._unenrol(site)
        self._check_owner(owner_token, site)
        held = self.applications.get(site.system_id)
        if held is not None and not self._has_left(held):
            raise Refused(403, "There already exists an application with this Site ID")
        owner = _OWNER_OF[site.system_id]
        if owner == "already-enrolled":
            raise Refused(
                400, "Site is already enrolled in program another", f"Site {site.system_id} is already enrolled"
            )
        if owner == "unauthorised":
            raise Refused(403, "Not authorized to enroll this site")
        if site.state != "CA":
            message = f"Program and site state should match. Program state is CA and site state is {site.state}"
            raise Refused(400, message)
        number, now = 10_000 + secrets.randbelow(90_000), self.clock.time()
        self.applications[site.system_id] = Application(number, site, now, _STEPS.get(owner, _APPROVED))
        if owner == "auto-approved":
            return f"Application for site_id = {site.system_id} approved successfully !"
        return f"Application ID : {number} for site with site_id = {site.system_id} created successfully!"

    def application(self, site_id: str) -> Body:
        held = self._held(site_id)
        status = self._status(held)
        leaving = held.leaves_at is not None
        return {
            "site_id": held.site.system_id,
            "program_id": PROGRAM_ID,
            "application_id": held.application_id,
            "application_status": "Application_Submitted" if leaving and not self._has_left(held) else status,
            "application_type": "unenrollment" if leaving else "enrollment",
            "created_at": "2026-01-02T06:47:37.000+00:00",
            "site_info": {"city": "Petaluma", "state": held.site.state, "country": "USA", "postal_code": "94954"},
        }

    def withdraw(self, site_id: str) -> str:
        held = self._held(site_id)
        if self._status(held) != "Application_Submitted":
            raise Refused(403, f"Application Withdraw not possible for siteId {site_id}")
        held.steps = ("Application_Withdrawn",)
        return f"Application ID : {held.application_id} for site with site_id = {site_id} withdrawn successfully!"

    def systems(self, program_id: str, query: Mapping[str, str]) -> Body:
        enrolled = [held.site for held in self.applications.values() if self._is_enrolled(held)] + self._neighbours
        if program_id != PROGRAM_ID:
            raise Refused(404, "Please provide valid Program ID", "Please provide valid Program ID")
        if not enrolled:
            raise Refused(404, f"No sites were found to be enrolled in the program: {program_id}")
        enrolled.sort(key=lambda site: site.system_id, reverse=query.get("sort_by") != "id")
        return page_of(enrolled, query, lambda site: listed(self._asked(site, query)))

    def read(self, site_id: str, endpoint: str, query: Mapping[str, str]) -> Body:
        held = self.applications.get(int(site_id)) if site_id.isdigit() else None
        if held is None or not self._is_enrolled(held):
            raise Refused(403, _NOT_ENROLLED, _NOT_ENROLLED)
        return site_answer(self._asked(held.site, query), endpoint)

    def state(self) -> Body:
        counts = self.owners.counts()
        machine = self.machine.counts()["token_calls"]
        counts["token_calls"] += machine
        return {**counts, "machine_tokens": machine, "applications": len(self.applications), "calls": dict(self.calls)}

    def _check_owner(self, token: str | None, site: SimulatedSite) -> None:
        if token is None:
            raise Refused(403, "Home Owner Access Token missing")
        held = self.owners.holder(token)
        if held is None:
            raise Refused(401, "Provided Home Owner access token is invalid")
        if held.owner == "token-expired":
            raise Refused(401, "Provided Home Owner access token expired")
        if held.about["site_id"] != str(site.system_id):
            raise Refused(403, "Provided Home Owner Access Token does not match with Site ID")

    def _unenrol(self, site: SimulatedSite) -> str:
        held = self.applications.get(site.system_id)
        if held is None or not self._is_enrolled(held):
            raise Refused(400, "Site is not enrolled in this program.")
        held.leaves_at = self.clock.time() + _UNENROLMENT_S
        return (
            f"Unenrollment application id: {held.application_id} for Site with Site ID : {site.system_id} submitted "
            "successfully. The unenrollment requests will be processed in 3 business days, please contact …"
        )

    def _held(self, site_id: str) -> Application:
        held = self.applications.get(int(site_id)) if site_id.isdigit() else None
        if held is None:
            raise Refused(404, "No applications found", f"There is no application found for the site_id : {site_id}")
        return held

    def _status(self, held: Application) -> str:
        passed = int(max(0.0, self.clock.time() - held.submitted_at) / self.step_s) if self.step_s else len(held.steps)
        return held.steps[min(passed, len(held.steps) - 1)]

    def _has_left(self, held: Application) -> bool:
        return held.leaves_at is not None and self.clock.time() >= held.leaves_at

    def _is_enrolled(self, held: Application) -> bool:
        approved = held.steps == _STEPS["auto-approved"] or self._status(held) == "Site_Approved"
        return approved and not self._has_left(held)

    def _asked(self, site: SimulatedSite, query: Mapping[str, str]) -> AskedOfSite:
        return AskedOfSite(system=site, query=query, now=int(self.clock.time()), lag_s=self.lag_s)


class _Form(msgspec.Struct):
    site_id: int
    program_id: str


def _form(text: str | None) -> _Form:
    if text is None:
        raise Refused(400, "Application Form is not provided", "Application Form is mandatory.")
    try:
        return msgspec.json.decode(text, type=_Form)
    except msgspec.DecodeError:
        raise Refused(400, "Bad request, Not enough details in Application body") from None


def _site(site_id: int) -> SimulatedSite:
    if site_id not in _OWNER_OF:
        raise Refused(404, f"No site found for {site_id}")
    return SITES[_OWNER_OF[site_id]]
