"""One broken vendor for each conformance check: the template plugin with one change that this check must find."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

INIT, API, MAPPING, CASSETTE = (
    "src/joinder_acme/__init__.py",
    "src/joinder_acme/api.py",
    "src/joinder_acme/mapping.py",
    "tests/cassettes/flow.yaml",
)
_URL = "    return oauth.authorize_url(_OAUTH2, ctx.require_app(), request)"
_EXCHANGE = "    token = await oauth.exchange_code(ctx, _OAUTH2, callback)"
_REFRESH = "    token = await oauth.refresh_token(ctx, _OAUTH2, grant.secrets)"
_SITE = "    return mapping.site(await api.get(ctx, grant, api.site_path(site_id), api.SiteDetails))"
_PATH = "    site_id = query.site.vendor_id"
_READINGS = "    return Readings(intervals=intervals, live=live, warnings=warnings)"
_CALL = '    answer = await ctx.http.request("GET", BASE + path, params=params, headers=headers)'
_FAKE = 'Consent(grant=Grant(secrets=joinder.Secrets({"a": "b"}), site_ids=("site-1",)))'
_LIVE = '        live, warnings = mapping.live(await api.get(ctx, grant, f"{api.site_path(site_id)}/power", api.Power))'
_DETAILS = "class SiteDetails(Struct):\n    id: str\n    name: str\n    timezone: str\n    devices: list[DeviceEntry]"
_OLD = "    if query.start < ctx.now() - timedelta(days=200):\n        return Readings()"


@dataclass(frozen=True)
class Bad:
    """`old` is replaced by `new` in `file`."""

    file: str
    old: str
    new: str


def _renamed(error: str, becomes: str, call: str, file: str = INIT) -> Bad:
    """`call` raises `becomes` wherever it raised `error`."""
    guarded = "\n".join(f"    {line}" for line in call.splitlines())
    raised = f'raise joinder.errors.{becomes}("changed") from None'
    return Bad(file, call, f"    try:\n{guarded}\n    except joinder.errors.{error}:\n        {raised}")


BAD = {
    "entry_point": Bad(INIT, 'name="acme"', 'name="another"'),
    "imports_light": Bad(INIT, "from datetime import timedelta", "from datetime import timedelta\n\nimport sqlalchemy"),
    "hook_signatures": Bad(INIT, "async def build_authorize_url", "def build_authorize_url"),
    "description_is_pure": Bad(
        INIT, "    return VENDOR", "    return msgspec.structs.replace(VENDOR, docs_url=f'https://x/{next(COUNT)}')"
    ),
    "description_is_whole": Bad(INIT, 'docs_url="https:', 'docs_url="http:'),
    "authorize_url_is_intact": Bad(INIT, _URL, _URL + '.replace("redirect_uri=https", "redirect_uri=http")'),
    "authorize_url_asks_for_scopes": Bad(
        INIT, _URL, _URL.replace("_OAUTH2", "msgspec.structs.replace(_OAUTH2, scopes=())")
    ),
    "authorize_url_holds_no_secret": Bad(INIT, _URL, _URL + ' + "&s=" + ctx.require_app()["clientSecret"]'),
    "authorize_url_needs_no_call": Bad(
        INIT,
        _URL,
        '    await api.get(ctx, Grant(secrets=joinder.Secrets({"access_token": "x"})), "/sites", api.Sites)\n' + _URL,
    ),
    "denial_is_understood": Bad(
        INIT, _EXCHANGE, f'    if "error" in callback.values:\n        return {_FAKE}\n{_EXCHANGE}'
    ),
    "consent_opens_sites": Bad(INIT, "account_id=account", "account_id=str(next(COUNT))"),
    "kept_token_stands_for_the_code": Bad(
        INIT, _EXCHANGE, _EXCHANGE.replace("callback)", "replace(callback, kept=None))")
    ),
    "nonsense_is_no_consent": Bad(
        INIT, _EXCHANGE, f'    if "made-up" in callback.values.get("code", ""):\n        return {_FAKE}\n{_EXCHANGE}'
    ),
    "refresh_keeps_or_rotates": Bad(INIT, "secrets=token.secrets(grant.secrets)", "secrets=grant.secrets"),
    "refresh_is_one_exchange": Bad(
        INIT, _REFRESH, f"{_REFRESH}\n    token = await oauth.refresh_token(ctx, _OAUTH2, token.secrets())"
    ),
    "ended_consents_are_taken_back": Bad(INIT, "auth.acme.example/revoke", "auth.acme.example/nowhere"),
    "site_is_normalised": Bad(MAPPING, "name=details.name", 'name=""'),
    "quarter_hours_are_whole": Bad(
        MAPPING, "    return quarters.readings(query.device_id)", "    return quarters.readings(query.device_id)[1:]"
    ),
    "days_are_whole": Bad(
        MAPPING, "    return days.readings(query.device_id)", "    return days.readings(query.device_id)[1:]"
    ),
    "levels_agree": Bad(MAPPING, "astimezone(where).date(), wh)", "astimezone(where).date(), wh and wh * 1.5)"),
    "spring_day_has_92_quarters": Bad(
        MAPPING, "Quarters(query.start, query.end)", "Quarters(query.start, query.start)"
    ),
    "autumn_day_has_100_quarters": Bad(
        MAPPING,
        "    return quarters.readings(query.device_id)",
        "    return quarters.readings(query.device_id)[: 24 * 4]",
    ),
    "live_power_balances": Bad(MAPPING, "load_w=load_w", "load_w=(load_w or 0) + 500"),
    "faults_make_no_numbers": Bad(
        API,
        _CALL,
        f"{_CALL}\n    if into is Power and answer.status == 503:\n        return Power(datetime.now().astimezone())\n"
        "    if into is Energy and answer.status == 503:\n"
        '        span = [datetime.fromisoformat(params[name]) for name in ("start", "end")]\n'
        "        return Energy([Row(*span, 0.0)])",
    ),
    "rows_are_true": Bad(MAPPING, '"solar_wh": row.solar', '"solar_wh": row.solar and row.solar / 1000'),
    "spans_begin_anywhere": Bad(INIT, "outwards(query.start, query.end)", "(query.start, query.end.replace(minute=0))"),
    "gaps_stay_gaps": Bad(MAPPING, "        if row.silent:", "        if row.silent and not row:"),
    "clock_changes_are_true": Bad(
        MAPPING, "date(), wh)", "date(), wh and wh * 86400 / (row.end - row.start).total_seconds())"
    ),
    "history_is_true_to_its_reach": Bad(INIT, _PATH, f"{_OLD}\n{_PATH}"),
    "live_power_is_true": Bad(MAPPING, "else -power.battery", "else power.battery"),
    "measured_at_is_the_vendors": Bad(
        INIT,
        _READINGS,
        _READINGS.replace("live=live", "live=live and msgspec.structs.replace(live, measured_at=ctx.now())"),
    ),
    "registers_are_true": Bad(MAPPING, "solar_wh=total.solar,", "solar_wh=total.exported,"),
    "devices_are_true": Bad(MAPPING, '"inverter": DeviceKind.INVERTER', '"inverter": DeviceKind.BATTERY'),
    "ids_stay": Bad(MAPPING, "vendor_id=entry.serial", 'vendor_id=f"{entry.serial}-{next(COUNT)}"'),
    "device_rows_are_true": Bad(INIT, "energy_path(site_id, query.device_id)", "energy_path(site_id, None)"),
    "every_site_is_listed": Bad(API, "if number >= page.pages", "if number >= 1"),
    "owners_are_told_apart": Bad(INIT, "account_id=account", 'account_id="acme"'),
    "owner_is_known_again": Bad(INIT, ", account_id=account)", ")"),
    "owner_without_site_is_no_consent": Bad(INIT, "    if not sites:", "    if len(sites) > 99:"),
    "foreign_sites_stay_closed": Bad(INIT, "api.site_path(site_id), api.SiteDetails", "_SITE, api.SiteDetails"),
    "withdrawn_consent_is_lost": Bad(API, "answer.status == 401", "answer.status == 499"),
    "expired_token_is_lost": Bad(
        INIT, "Grant(secrets=token.secrets(), expires_at=token.expires_at)", "Grant(secrets=token.secrets())"
    ),
    "rate_limit_is_obeyed": _renamed("RateLimited", "TransientError", "    raise_for_status(answer)", API),
    "server_errors_are_transient": _renamed("TransientError", "AuthorizationLost", "    raise_for_status(answer)", API),
    "silence_is_transient": _renamed("VendorTimeout", "NotSupported", _CALL, API),
    "unreachable_is_transient": _renamed("TransientError", "NotSupported", _CALL, API),
    "another_device_is_nobody": Bad(INIT, 'if info.serial != grant.facts["serial"]:', "if not info.serial:"),
    "html_is_no_answer": _renamed("UnexpectedPayload", "NotSupported", "    said = answer.json(Refused)", API),
    "cut_answers_are_no_answers": _renamed(
        "UnexpectedPayload", "AuthorizationLost", "    said = answer.json(Refused)", API
    ),
    "nonsense_is_no_answer": Bad(
        API,
        _DETAILS,
        _DETAILS.replace(": str", ': str = "site-1"').replace(": list[DeviceEntry]", ": list[DeviceEntry] = []"),
    ),
    "refused_token_is_not_passing_trouble": Bad(API, "answer.status == 401", "answer.status == 499"),
    "invalid_grant_is_the_owners": _renamed("AuthorizationLost", "TransientError", _REFRESH),
    "invalid_client_is_the_operators": _renamed("AppCredentialsRejected", "AuthorizationLost", _REFRESH),
    "own_refusals_are_understood": Bad(API, "error == WITHDRAWN", 'error == "another"'),
    "lost_refresh_is_unknown": _renamed("OutcomeUnknown", "AuthorizationLost", _REFRESH),
    "cancellation_is_let_through": Bad(
        API,
        _CALL,
        f"    try:\n    {_CALL}\n    except asyncio.CancelledError:\n        raise NotSupported('x') from None",
    ),
    "calls_stay_few": Bad(
        INIT, _SITE, _SITE.replace("return", "for _ in range(2):\n        found =") + "\n    return found"
    ),
    "nothing_is_listed_anew": Bad(INIT, _PATH, f"    await api.sites(ctx, grant)\n{_PATH}"),
    "hooks_do_not_wait": Bad(INIT, _SITE, f"    await asyncio.sleep(0.01)\n{_SITE}"),
    "cut_refresh_is_one_call": Bad(
        INIT, _REFRESH, f"    try:\n    {_REFRESH}\n    except joinder.errors.OutcomeUnknown:\n    {_REFRESH}"
    ),
    "refresh_token_stays_in_refresh": Bad(
        INIT, _PATH, f"    await oauth.refresh_token(ctx, _OAUTH2, grant.secrets)\n{_PATH}"
    ),
    "one_endpoint_down_is_told": Bad(
        INIT,
        _LIVE,
        f"        try:\n    {_LIVE}\n        except joinder.errors.TransientError:\n            pass",
    ),
    "cassette_plays_whole": Bad(CASSETTE, "/v1/sites/site-1/power", "/v1/sites/site-1/watts"),
    "cassette_says_its_source": Bad(CASSETTE, "# recorded from ", "# "),
    "cassette_holds_no_secret": Bad(CASSETTE, "SCRUBBED-3", "Zk3fQ9xT1bLw7RmCvY5pH2sNdE8gUaJ4"),
    "only_declared_hosts": Bad(
        INIT, _SITE, f'    with socket.socket() as own:\n        own.connect_ex(("127.0.0.1", 9))\n{_SITE}'
    ),
    "no_secret_is_told": Bad(INIT, _SITE, f'    print(grant.secrets["access_token"][:8])\n{_SITE}'),
    "grant_is_left_alone": Bad(INIT, _PATH, f'{_PATH}\n    grant.facts["seen"] = "yes"'),
}
LONGHAND = {  # the template as an author writes it who leaves nothing to core: what the mistakes are planted in
    INIT: (
        (
            "    grant = await oauth.consented(ctx, _OAUTH2, callback)",
            "    token = await oauth.exchange_code(ctx, _OAUTH2, callback)\n"
            "    grant = Grant(secrets=token.secrets(), expires_at=token.expires_at)",
        ),
        (
            "@hookimpl\nasync def fetch_site(",
            "@hookimpl\nasync def build_authorize_url(ctx: Context, request: joinder.AuthorizeRequest) -> str:\n"
            "    return oauth.authorize_url(_OAUTH2, ctx.require_app(), request)\n\n\n"
            "@hookimpl\nasync def refresh(ctx: Context, grant: Grant) -> Grant:\n"
            "    token = await oauth.refresh_token(ctx, _OAUTH2, grant.secrets)\n"
            "    return replace(grant, secrets=token.secrets(grant.secrets), expires_at=token.expires_at)\n\n\n"
            "@hookimpl\nasync def fetch_site(",
        ),
    ),
    API: (
        (
            "    return await API.get(ctx, grant, path, into, **params)",
            '    headers = {"authorization": f"Bearer {grant.secrets[\'access_token\']}"}\n'
            '    answer = await ctx.http.request("GET", BASE + path, params=params, headers=headers)\n'
            "    if answer.status == 401:\n"
            '        raise AuthorizationLost("Acme no longer accepts this consent")\n'
            "    if answer.status in (403, 404):\n"
            '        raise NotSupported("Acme does not show this to the account")\n'
            "    raise_for_status(answer)\n"
            "    said = answer.json(Refused)\n"
            "    if said.error == WITHDRAWN:\n"
            '        raise AuthorizationLost("Acme\'s owner took this consent back")\n'
            "    return answer.json(into)",
        ),
        ("T = TypeVar(", 'BASE = "https://api.acme.example/v1"\nT = TypeVar('),
        ("import Answer, Api, path", "import Answer, Api, path, raise_for_status"),
    ),
}


def longhand(folder: Path) -> None:
    """Raises AssertionError where the template no longer holds what is written out."""
    for file, changes in LONGHAND.items():
        text = (folder / file).read_text()
        for old, new in changes:
            assert old in text, f"{file} no longer holds {old!r}"
            text = text.replace(old, new, 1)
        (folder / file).write_text(text)


PREAMBLE = {
    INIT: (
        "import asyncio\nimport itertools\nimport socket\n\nimport joinder\nimport msgspec\n\n"
        "COUNT = itertools.count()\n_SITE = '/sites/site-1'\n"
    ),
    API: "import asyncio\n\nimport joinder\n",
    MAPPING: "import itertools\n\nCOUNT = itertools.count()\n",
}
