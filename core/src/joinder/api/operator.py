"""What the operator sets up: vendor credentials, join flows, and the list of vendors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from joinder import virtual
from joinder.api.auth import require_caller
from joinder.api.deps import NO_STORE, Paging, VendorName
from joinder.api.problems import Forbidden
from joinder.runtime.hub import Hub
from joinder.services.admin import operator_actions
from joinder.services.calls import breaker_states
from joinder.services.join import join_flows, vendor_credentials
from joinder.services.join.consents import callback_url
from joinder.services.records.accounts import REVEAL, Caller
from joinder.services.records.told import Told
from joinder.vendor import Capability, Flow, Vendor
from joinder.wire.credentials import (
    ActionInfo,
    ActionList,
    ActionOutcome,
    Credentials,
    CredentialsPage,
    CredentialsPatch,
    NewCredentials,
    Quotas,
)
from joinder.wire.flows import JoinFlow, JoinFlowPage, NewFlow
from joinder.wire.vendors import BrokenPlugin, CredentialTypeInfo, FieldInfo, VendorInfo, VendorList

IncludeSecrets = Annotated[bool, QueryParameter(name="includeSecrets", description="Needs scope reveal:credentials.")]


class VendorCredentialsController(Controller):
    """The operator's app credentials at vendors. Secrets go in and do not come out again."""

    path = "/vendor-credentials"
    tags = ["Vendor credentials"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post(
        "/",
        operation_id="createVendorCredentials",
        cache_control=NO_STORE,
        opt={"scope": "manage:credentials"},
        summary="Store vendor credentials",
    )
    async def create(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        data: JSONBody[NewCredentials],
        include_secrets: IncludeSecrets = False,
    ) -> Credentials:
        _may_reveal(caller, include_secrets)
        created = await vendor_credentials.create(
            hub, caller.account_id, caller.client_id, name=data.name, credentials=data.credentials, told=caller.told
        )
        return await _credentials(hub, caller, created, include_secrets)

    @get(
        "/",
        operation_id="listVendorCredentials",
        opt={"scope": "read:credentials"},
        cache_control=NO_STORE,
        summary="List vendor credentials",
    )
    async def list_all(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        vendor: VendorName = None,
        name: FromQuery[str | None] = None,
        include_secrets: IncludeSecrets = False,
        *,
        paging: NamedDependency[Paging],
    ) -> CredentialsPage:
        _may_reveal(caller, include_secrets)
        rows = await vendor_credentials.list_page(
            hub,
            caller.account_id,
            vendor=vendor,
            name=name,
            after=paging.after("cred"),
            limit=paging.limit,
            known=caller.told.types,
        )
        page, rest = paging.cut(rows, lambda row: row.id)
        return CredentialsPage(
            vendor_credentials=[await _credentials(hub, caller, row, include_secrets) for row in page],
            **rest,
        )

    @get(
        "/{credentials_id:str}",
        operation_id="getVendorCredentials",
        cache_control=NO_STORE,
        opt={"scope": "read:credentials"},
        summary="Show vendor credentials",
    )
    async def show(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        credentials_id: FromPath[str],
        include_secrets: IncludeSecrets = False,
    ) -> Credentials:
        _may_reveal(caller, include_secrets)
        shown = await vendor_credentials.get(hub, caller.account_id, credentials_id, caller.client_id)
        return await _credentials(hub, caller, shown, include_secrets)

    @patch(
        "/{credentials_id:str}",
        operation_id="updateVendorCredentials",
        cache_control=NO_STORE,
        opt={"scope": "manage:credentials"},
        summary="Change vendor credentials",
    )
    async def change(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        credentials_id: FromPath[str],
        data: JSONBody[CredentialsPatch],
        include_secrets: IncludeSecrets = False,
    ) -> Credentials:
        """Applies a JSON Merge Patch; vendor and type cannot change. Enrollments that waited for it are tried again."""
        _may_reveal(caller, include_secrets)
        changed = await vendor_credentials.change(
            hub, caller.account_id, credentials_id, caller.client_id, patch=data.given()
        )
        return await _credentials(hub, caller, changed, include_secrets)

    @delete(
        "/{credentials_id:str}",
        operation_id="deleteVendorCredentials",
        opt={"scope": "manage:credentials"},
        summary="Delete vendor credentials",
    )
    async def remove(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        credentials_id: FromPath[str],
        include_secrets: IncludeSecrets = False,
    ) -> None:
        """Deletes them. 409 while a join flow or an enrollment uses them. `includeSecrets` changes nothing."""
        await vendor_credentials.delete(hub, caller.account_id, credentials_id, caller.client_id)

    @get(
        "/{credentials_id:str}/quota",
        operation_id="getVendorCredentialsQuota",
        opt={"scope": "read:credentials"},
        summary="Show what may still be called",
    )
    async def quota(
        self, hub: NamedDependency[Hub], caller: NamedDependency[Caller], credentials_id: FromPath[str]
    ) -> Quotas:
        """Shows what is left of the limits the vendor declares (`GET /vendors`), over all processes."""
        left = await vendor_credentials.quotas(hub, caller.account_id, credentials_id)
        return Quotas.of(left)

    @get(
        "/{credentials_id:str}/actions",
        operation_id="listOperatorActions",
        opt={"scope": "read:credentials"},
        summary="List operator actions",
    )
    async def actions(
        self, hub: NamedDependency[Hub], caller: NamedDependency[Caller], credentials_id: FromPath[str]
    ) -> ActionList:
        """Lists steps the vendor wants once for an app, such as registering a domain."""
        found = await operator_actions.list_actions(hub, caller.account_id, credentials_id)
        return ActionList(actions=[ActionInfo.of(action) for action in found])

    @post(
        "/{credentials_id:str}/actions/{name:str}",
        operation_id="runOperatorAction",
        opt={"scope": "manage:credentials"},
        status_code=200,
        summary="Run an operator action",
    )
    async def act(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        credentials_id: FromPath[str],
        name: FromPath[str],
        data: JSONBody[dict[str, Any]],
    ) -> ActionOutcome:
        """Runs it with its fields, which the body holds. Running it twice is harmless."""
        message = await operator_actions.run(
            hub, caller.account_id, credentials_id, caller.client_id, name=name, values=data
        )
        return ActionOutcome(message=message)


class JoinFlowController(Controller):
    """Reusable links an operator sends system owners to."""

    path = "/join/flows"
    tags = ["Join flows"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post("/", operation_id="createJoinFlow", opt={"scope": "manage:flows"}, summary="Create a join flow")
    async def create(
        self, hub: NamedDependency[Hub], caller: NamedDependency[Caller], data: JSONBody[NewFlow]
    ) -> JoinFlow:
        vendors = [
            join_flows.FlowVendor(vendor=entry.vendor, credentials_id=entry.credentials_id, options=entry.options or {})
            for entry in data.vendors
        ]
        return JoinFlow.of(
            await join_flows.create(
                hub,
                caller.account_id,
                caller.client_id,
                vendors=vendors,
                redirect_uri=data.redirect_uri,
                skip_intro=data.skip_intro or caller.is_compatible,  # its owners go straight out and back
                skip_landing=data.skip_landing or caller.is_compatible,
                program_id=data.program_id,
                told=caller.told,
            ),
            caller.told,
        )

    @get("/", operation_id="listJoinFlows", opt={"scope": "read:flows"}, summary="List join flows")
    async def list_all(
        self,
        hub: NamedDependency[Hub],
        caller: NamedDependency[Caller],
        *,
        paging: NamedDependency[Paging],
    ) -> JoinFlowPage:
        rows = await join_flows.list_page(
            hub, caller.account_id, after=paging.after("flow"), limit=paging.limit, told=caller.told
        )
        page, rest = paging.cut(rows, lambda row: row.id)
        return JoinFlowPage(join_flows=[JoinFlow.of(row, caller.told) for row in page], **rest)

    @get("/{flow_id:str}", operation_id="getJoinFlow", opt={"scope": "read:flows"}, summary="Show a join flow")
    async def show(
        self, hub: NamedDependency[Hub], caller: NamedDependency[Caller], flow_id: FromPath[str]
    ) -> JoinFlow:
        return JoinFlow.of(await join_flows.get(hub, caller.account_id, flow_id), caller.told)

    @delete(
        "/{flow_id:str}", operation_id="deleteJoinFlow", opt={"scope": "manage:flows"}, summary="Delete a join flow"
    )
    async def remove(self, hub: NamedDependency[Hub], caller: NamedDependency[Caller], flow_id: FromPath[str]) -> None:
        """Deletes it; enrollments made through it stay."""
        await join_flows.delete(hub, caller.account_id, flow_id, caller.client_id)


class VendorController(Controller):
    path = "/vendors"
    tags = ["Vendors"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @get("/", operation_id="listVendors", summary="List installed vendors")
    async def list_all(self, hub: NamedDependency[Hub], caller: NamedDependency[Caller]) -> VendorList:
        """Lists what each asks for and can do, from its own data; and plugins that were found but do not work.

        `breakers` names hooks that a server or worker does not call now, as the vendor did not answer the last calls.
        """
        installed = hub.registry.installed
        states = await _breakers(hub)
        return VendorList(
            vendors=[
                _vendor(hub, entry.vendor, entry.distribution, entry.version, states, caller.told)
                for entry in installed
                if entry.vendor and (entry.name == virtual.NAME) == caller.is_virtual and caller.told.knows(entry.name)
            ],
            broken=[
                BrokenPlugin(name=entry.name, distribution=entry.distribution, problem=entry.problem)
                for entry in installed
                if entry.problem and caller.told.knows(entry.name)
            ],
        )


def _may_reveal(caller: Caller, include_secrets: bool) -> None:
    if include_secrets and REVEAL not in caller.scopes:
        raise Forbidden(REVEAL)


async def _credentials(
    hub: Hub, caller: Caller, shown: vendor_credentials.CredentialsView, include_secrets: bool
) -> Credentials:
    if include_secrets:
        shown = await vendor_credentials.get(hub, caller.account_id, shown.id, caller.client_id, reveal=True)
    return Credentials.of(shown)


async def _breakers(hub: Hub) -> dict[tuple[str, str], str]:
    """Returns (vendor, hook) → the state of those not closed, in this process or else in another."""
    others = await breaker_states.standing(hub.store, besides=hub.process)
    elsewhere = {(one.vendor, one.hook): one.state for one in others if not one.is_closed}
    return elsewhere | {key: state for key, state in hub.breakers.states().items() if state != "closed"}


def _vendor(
    hub: Hub, vendor: Vendor, distribution: str, version: str, states: Mapping[tuple[str, str], str], told: Told
) -> VendorInfo:
    limits = vendor.limits
    calls: dict[str, Any] = {
        "pollEverySeconds": int(limits.poll_every.total_seconds()),
        "maxConcurrency": limits.max_concurrency,
        "callsPerMinute": limits.most("minute"),
        "callsPerDay": limits.most("day"),
        "callsPerMonth": limits.most("month"),
    }
    return VendorInfo(
        name=vendor.name,
        label=vendor.label,
        docs_url=vendor.docs_url,
        flow=str(vendor.flow),
        distribution=distribution,
        version=version,
        credential_types=[
            CredentialTypeInfo(
                type=kind.type,
                label=kind.label,
                flow=str(kind.flow),
                fields=[FieldInfo.of(entry) for entry in kind.fields],
            )
            for kind in vendor.app_credentials
            if told.knows_type(vendor.name, kind.type)
        ],
        consent_fields=[FieldInfo.of(entry) for entry in vendor.consent_fields],
        flow_fields=[FieldInfo.of(entry) for entry in vendor.flow_fields],
        capabilities={str(each): str(vendor.support(each)) for each in Capability},
        limits={name: value for name, value in calls.items() if value is not None},
        breakers={hook: state for (name, hook), state in states.items() if name == vendor.name},
        callback_url=callback_url(hub, vendor.name) if vendor.flow is Flow.REDIRECT else None,
    )
