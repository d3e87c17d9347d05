"""Enphase Grid Services (VPP) for Joinder: a site is enrolled into a programme, then read with the app's own token.

Facts come from the vendor's OpenAPI document 1.1.0; README.md lists what is not confirmed.
"""

from __future__ import annotations

from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
    AppCredentialType,
    AuthorizeRequest,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    GrantState,
    History,
    Limits,
    Readings,
    ReadingsQuery,
    Refresh,
    Site,
    Support,
    Vendor,
    hookimpl,
)
from joinder.errors import OperatorActionNeeded
from joinder_enphase import shapes
from joinder_enphase.mapping import site
from joinder_enphase_vpp import api, consent, enrolment
from joinder_enphase_vpp.readings import GridServicesReader
from joinder_enphase_vpp.refusals import NotEnrolled

_BY_ENPHASE = "Enphase names it for your programme"
VENDOR = Vendor(
    name="enphasevpp",
    label="Enphase Grid Services",
    docs_url="https://vpp.enphaseenergy.com",
    texts=__name__,
    flow=Flow.REDIRECT,
    hosts=(api.HOST,),
    app_credentials=(
        AppCredentialType(
            type="vpp",
            compatible=True,
            label="Grid Services account",
            fields=(
                Field(name="clientID", label="Client ID", help="Of the Grid Services account"),
                Field(name="clientSecret", label="Client secret", secret=True),
                Field(name="apiKey", label="API key", secret=True, help="Of the same account"),
                # Joining needs the next four; an account that only reads enrolled sites does without.
                Field(
                    name="consentAuthorizeURL",
                    label="Owner's consent: page",
                    required=False,
                    endpoint=True,
                    help=_BY_ENPHASE,
                    example="https://consent.example/oauth/authorize",
                ),
                Field(
                    name="consentTokenURL",
                    label="Owner's consent: token address",
                    required=False,
                    endpoint=True,
                    help=_BY_ENPHASE,
                ),
                Field(name="consentClientID", label="Owner's consent: client ID", required=False, help=_BY_ENPHASE),
                Field(name="consentClientSecret", label="Owner's consent: client secret", required=False, secret=True),
                Field(name="consentScope", label="Owner's consent: scope", required=False),
                Field(name="consentAudience", label="Owner's consent: audience", required=False),
            ),
        ),
    ),
    flow_fields=(Field(name="programID", label="Programme ID", help="Of the programme that owners of this flow join"),),
    refresh=Refresh.STATIC_KEY,  # reads use the app's own token; `refresh` asks for the approval only
    limits=Limits(  # no quota is published
        poll_every=timedelta(hours=1),
        live_max_age=timedelta(minutes=15),
        history=(
            History(resolution="15mins", window=timedelta(days=7), reach=timedelta(days=730)),
            History(resolution="day", window=timedelta(days=365)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
    compatible=True,
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def build_authorize_url(ctx: Context, request: AuthorizeRequest) -> str:
    return consent.authorize_url(ctx, request)


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    """Exchanges the callback and hands in the enrolment.

    The consent has no account id: the vendor says which site, not who. A second consent is known by its site. Raises
    OperatorActionNeeded where the join flow names no programme.
    """
    program_id = ctx.options.get("programID", "").strip()
    if not program_id:
        raise OperatorActionNeeded("The join flow names no programme; set its programID")
    owner_token, site_id = await consent.exchange(ctx, callback)
    return Consent(grant=await enrolment.submit(ctx, program_id, site_id, owner_token))


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    """Asks once how the application stands; an approved grant has nothing to renew."""
    return await enrolment.judged(ctx, grant) if grant.state is GrantState.PENDING_APPROVAL else grant


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    try:
        system = await enrolment.enrolled_system(ctx, grant.facts["program_id"], site_id)
        if system is None:
            raise await enrolment.why_not_enrolled(ctx, grant)
        lists = (await api.get(ctx, api.site_path(site_id, "/devices"), shapes.Devices)).devices
        capacity_wh = None
        if lists.encharges or lists.acbs:
            summary = await api.get(ctx, api.site_path(site_id, "/summary"), shapes.Summary)
            capacity_wh = summary.battery_capacity_wh
    except NotEnrolled:
        raise await enrolment.why_not_enrolled(ctx, grant) from None
    return site(system, lists, capacity_wh)


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    try:
        return await GridServicesReader(ctx=ctx, query=query).read()
    except NotEnrolled:
        raise await enrolment.why_not_enrolled(ctx, grant) from None
