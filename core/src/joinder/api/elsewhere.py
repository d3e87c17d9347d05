"""Operations of Derapi's client that Joinder does not do: each refused by a problem that says what to do instead."""

from __future__ import annotations

from litestar import Controller, get, post, put
from litestar.params import FromPath

from joinder.api.auth import require_caller
from joinder.api.deps import CallerDep, HubDep
from joinder.services.readings import sites
from joinder.services.refusals import NotOffered

_SESSIONS = (
    "Join sessions were replaced by join flows, and no vendor token leaves this server: make a flow with "
    "POST /join/flows, and send the owner's browser to /join/flows/{flowID}/authorize."
)


class BatteryControlController(Controller):
    """Steering a site's batteries."""

    path = "/sites/{site_id:str}/battery-control"
    tags = ["Battery control"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="getSiteBatteryControl", opt={"scope": "read:sites"}, summary="Show battery control")
    async def show(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> None:
        """Answers 422 `not-supported`: no batteries are controlled through Joinder."""
        await _refuse(hub, caller, site_id)

    @put(
        "/",
        operation_id="putSiteBatteryControl",
        opt={"scope": "manage:enrollments"},
        summary="Control batteries",
    )
    async def control(self, hub: HubDep, caller: CallerDep, site_id: FromPath[str]) -> None:
        """Answers 422 `not-supported`, before anything is sent to a vendor."""
        await _refuse(hub, caller, site_id)


class JoinSessionController(Controller):
    """The way to consent before there were join flows."""

    path = "/join/session"
    tags = ["Join sessions"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post("/start", operation_id="createJoinSession", opt={"scope": "manage:flows"}, summary="Start a join session")
    async def start(self) -> None:
        """Answers 422 `not-supported`: join flows do this."""
        raise NotOffered(_SESSIONS)

    @get(
        "/{session_id:str}/fetch-token",
        operation_id="getJoinSessionToken",
        opt={"scope": "read:flows"},
        summary="Fetch a join session's token",
    )
    async def token(self, session_id: FromPath[str]) -> None:
        """Answers 422 `not-supported`: vendors' tokens stay here."""
        raise NotOffered(_SESSIONS)


async def _refuse(hub: HubDep, caller: CallerDep, site_id: str) -> None:
    """Raises NotFound for a site the caller does not have, NotOffered for one it has."""
    head = await sites.site_head(hub, caller.account_id, site_id)
    raise NotOffered(f"Joinder reads batteries of {head.vendor} and steers none: use the vendor's own app or API.")
