"""One answer of a vendor before the judge, with what is stored of whom it is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now
from joinder.errors import HealthState, VendorError
from joinder.runtime.hub import Hub
from joinder.services.grants import apps, standing
from joinder.services.grants.verdict import Door
from joinder.store.tables import Enrollment, GrantRow, SiteRow, VendorCredentials
from joinder.vendor import Vendor

if TYPE_CHECKING:
    from joinder.services.records.opened_grant import OpenedRow


_KIND = {Door.TOKEN: "refresh", Door.DATA: "poll", Door.QUESTION: "approval"}
APP_DOOR: dict[Door, apps.Door] = {Door.TOKEN: "token", Door.JOIN: "token", Door.DATA: "data", Door.QUESTION: "token"}


@dataclass(frozen=True, kw_only=True)
class VendorAnswer:
    """A refusal or trouble, by which door it came, and with what it was asked."""

    row: OpenedRow
    door: Door
    error: VendorError
    site_id: str | None = None  # the one it was about
    is_over: bool = False  # not heard at all: the grant has ended by its own date


@dataclass(kw_only=True)
class Case:
    """One answer before the judge, in the transaction of its enrollment."""

    hub: Hub
    session: AsyncSession
    answer: VendorAnswer
    enrollment: Enrollment
    grant: GrantRow
    app: VendorCredentials | None
    site: SiteRow | None

    @property
    def kind(self) -> str:
        return _KIND[self.answer.door]

    @property
    def vendor(self) -> Vendor:
        return self.hub.registry.vendor(self.enrollment.vendor)

    async def settle(self, state: HealthState | None, reason: str | None, due_at: int) -> None:
        due = {self.kind: due_at}
        await standing.settle(self.hub, self.session, self.enrollment, state, reason=reason, due=due)


def is_old(at: int | None, age: timedelta) -> bool:
    return at is not None and now() - at >= age.total_seconds()
