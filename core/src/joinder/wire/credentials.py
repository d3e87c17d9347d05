"""The operator's credentials at a vendor, their quotas and actions."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from joinder.services.calls import budgets
from joinder.services.join import vendor_credentials
from joinder.vendor import OperatorAction
from joinder.wire.base import Body, ListPage, Moment, Wire, one_of, utc, utc_text
from joinder.wire.vendors import FieldInfo


class NewCredentials(Body, kw_only=True):
    credentials: dict[str, Any]
    name: str | None = None


class CredentialsPatch(Body, kw_only=True):
    """A member left out stays; `name: null` removes the name."""

    name: str | UnsetType | None = UNSET
    credentials: dict[str, Any] | UnsetType = UNSET

    def given(self) -> dict[str, object]:
        members = {"name": self.name, "credentials": self.credentials}
        return {name: value for name, value in members.items() if value is not UNSET}


class Credentials(Wire, kw_only=True):
    """`credentials` holds vendor and type; the other members only when revealed. `name` is "" when there is none."""

    id: str
    name: str
    credentials: dict[str, str]

    @staticmethod
    def of(shown: vendor_credentials.CredentialsView) -> Credentials:
        return Credentials(
            id=shown.id,
            name=shown.name or "",
            credentials={"vendor": shown.vendor, "type": shown.type, **(shown.secrets or {})},
        )


class CredentialsPage(ListPage, kw_only=True):
    vendor_credentials: list[Credentials]


class Quota(Wire, kw_only=True):
    """Calls of one window: `minute`, `day` or `month` of UTC. `used` counts what running processes have taken."""

    span: Annotated[str, one_of(("minute", "day", "month"))]
    limit: int
    used: int
    resets_at: Moment


class Quotas(Wire, kw_only=True):
    """`blockedUntil`: the vendor asked for a pause. A vendor without a declared limit has no `quotas`."""

    quotas: list[Quota]
    blocked_until: Moment | None = None

    @staticmethod
    def of(left: budgets.Quotas) -> Quotas:
        return Quotas(
            quotas=[
                Quota(span=one.span, limit=one.limit, used=one.used, resets_at=utc_text(one.resets_at))
                for one in left.quotas
            ],
            blocked_until=utc(left.blocked_until),
        )


class ActionInfo(Wire, kw_only=True):
    """A step the operator takes at the vendor with this credential."""

    name: str
    label: str
    help: str | None = None
    fields: list[FieldInfo]

    @staticmethod
    def of(action: OperatorAction) -> ActionInfo:
        fields = [FieldInfo.of(entry) for entry in action.fields]
        return ActionInfo(name=action.name, label=action.label, help=action.help, fields=fields)


class ActionList(Wire, kw_only=True):
    actions: list[ActionInfo]


class ActionOutcome(Wire, kw_only=True):
    message: str
