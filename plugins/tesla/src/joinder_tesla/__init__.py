"""Tesla for Joinder: energy sites of the Fleet API, consented to by their owners.

Facts come from developer.tesla.com/docs/fleet-api and clients that run against it; README.md lists what is not
confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from joinder import (
    SOLAR_AND_STORAGE,
    AppCredentialType,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    History,
    Limits,
    OAuth2,
    OperatorAction,
    Readings,
    ReadingsQuery,
    Refresh,
    ServedFile,
    Site,
    Support,
    Vendor,
    hookimpl,
    oauth,
)
from joinder.errors import AuthorizationLost, ConsentInvalid, NotSupported
from joinder_tesla import api, history, mapping

_OAUTH2 = OAuth2(
    authorize_url="https://auth.tesla.com/oauth2/v3/authorize",
    token_url="https://fleet-auth.prd.vn.cloud.tesla.com/oauth2/v3/token",  # noqa: S106 - an address
    scopes=("openid", "offline_access", "energy_device_data"),
    token_endpoint_auth_method="client_secret_post",  # noqa: S106 - a method of RFC 7591
    invalid_grant_codes=("login_required", "invalid_auth_code"),
    extra_authorize_params={"prompt_missing_scopes": "true"},
    refresh_token_life=timedelta(days=90),  # "expires after 3 months"
    revocation_url="https://auth.tesla.com/oauth2/v3/revoke",  # of several clients; Tesla's pages name none
)


async def _register(ctx: Context, values: Mapping[str, str]) -> str:
    """Registers the domain once for each app and region; doing it again changes nothing."""
    domain, done = values["domain"].strip().lower(), []
    for region, base in api.BASES.items():
        token = await oauth.client_token(ctx, _OAUTH2, audience=base, scope="openid energy_device_data")
        await api.register(ctx, base, token.value, domain)
        done.append(region)
    return f"{domain} is registered in {' and '.join(done)}; Tesla has read its public key"


VENDOR = Vendor(
    name="tesla",
    label="Tesla",
    docs_url="https://developer.tesla.com/docs/fleet-api",
    texts=__name__,
    flow=Flow.REDIRECT,
    hosts=("auth.tesla.com", "fleet-auth.prd.vn.cloud.tesla.com", *(base[8:] for base in api.BASES.values())),
    app_credentials=(
        AppCredentialType(
            type="app",
            compatible=True,
            label="Fleet API app",
            fields=(
                Field(name="clientID", label="Client ID", help="On the app's page at developer.tesla.com"),
                Field(name="clientSecret", label="Client secret", secret=True),
            ),
        ),
    ),
    oauth2=_OAUTH2,
    refresh=Refresh.ROTATING,
    refresh_grace=timedelta(hours=24),  # the token used last stays valid so long
    refresh_margin=timedelta(minutes=30),
    refresh_at_least_every=timedelta(days=21),
    operator_actions=(
        OperatorAction(
            name="register",
            label="Register the app's domain in every region",
            help="Needed once, also for energy alone. Tesla fetches the public key from this domain meanwhile.",
            run=_register,
            fields=(Field(name="domain", label="Domain of this server", example="hub.example.com"),),
        ),
    ),
    served_files=(
        ServedFile(path="/.well-known/appspecific/com.tesla.3p.public-key.pem", label="EC P-256 public key"),
    ),
    limits=Limits(
        poll_every=timedelta(minutes=15),
        live_max_age=timedelta(minutes=5),  # faster reads answer the same timestamp again
        calls_per_minute=60,
        history=(
            History(resolution="15mins", window=timedelta(days=2)),
            History(resolution="day", window=timedelta(days=62)),
        ),
    ),
    capabilities=dict.fromkeys(SOLAR_AND_STORAGE, Support.YES),
    compatible=True,
)


@hookimpl
def describe_vendor() -> Vendor:
    return VENDOR


@hookimpl
async def handle_callback(ctx: Context, callback: Callback) -> Consent:
    held = callback.kept.secrets.get("refresh_token") if callback.kept else callback.values.get("code")
    base = api.base_of_code(held or "")
    grant = await oauth.consented(ctx, _OAUTH2, callback, facts={"base": base}, audience=base)
    try:
        region = await api.get(ctx, grant, "/api/1/users/region", api.Region)
        if region.fleet_api_base_url in api.BASES.values():
            grant = replace(grant, facts={"base": region.fleet_api_base_url or base})
        products = await api.get(ctx, grant, "/api/1/products", list[api.Product])
    except AuthorizationLost as error:
        raise ConsentInvalid(
            "Tesla shows no energy data: allow it on the consent page, with an account that has used Tesla's app",
            detail=error.detail,
        ) from None
    site_ids = mapping.site_ids(products)
    if not site_ids:
        raise ConsentInvalid("This Tesla account has no energy site")
    return Consent(grant=replace(grant, site_ids=site_ids), account_id=api.subject(grant.secrets["access_token"]))


@hookimpl
async def refresh(ctx: Context, grant: Grant) -> Grant:
    """Renews the grant; Tesla wants no client secret here."""
    return await oauth.renewed(ctx, _OAUTH2, grant, send_secret=False)


@hookimpl
async def fetch_site(ctx: Context, grant: Grant, site_id: str) -> Site:
    return mapping.site(site_id, await api.get(ctx, grant, api.site_path(site_id, "site_info"), api.SiteInfo))


@hookimpl
async def fetch_readings(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    if query.device_id is not None:
        raise NotSupported("Tesla has no intervals of one device alone")
    return await history.Reader(ctx, grant, query).readings()
