"""A broken, lying or hostile plugin disables itself and nothing else."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pluggy
import pytest

from joinder import (
    AppCredentials,
    AppCredentialType,
    AuthorizeRequest,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    Limits,
    MachineToken,
    OAuth2,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Vendor,
    hookimpl,
    oauth,
)
from joinder.errors import AuthorizationLost, PluginBug, TransientError, VendorError
from joinder.http import HttpFactory
from joinder.vendors import hook_answers
from joinder.vendors.registry import HOOKS, Registry, UnknownVendor
from joinder.vendors.token_cache import TokenCache

CANARY = "canary-8f3b2c19d7"
GRANT = Grant(secrets=Secrets({"access_token": CANARY}), site_ids=("1",))
SITE = Site(vendor_id="1", name="One")


def loaded(*entries: Any, allow: tuple[str, ...] | None = None) -> Registry:
    return Registry.load(allow=allow, found=entries)


def problem_of(registry: Registry, name: str) -> str:
    problem = next(entry.problem for entry in registry.installed if entry.name == name)
    assert problem is not None
    return problem


# Loading -------------------------------------------------------------------------------------------------------------


def test_a_working_plugin_is_listed_with_its_distribution_and_version(install_plugin):
    [entry] = loaded(install_plugin("sunny")).installed
    assert (entry.name, entry.distribution, entry.version, entry.problem) == ("sunny", "joinder-sunny", "1.2.3", None)
    assert entry.vendor is not None
    assert entry.vendor.name == "sunny"


BROKEN = {
    "import_error": ("import no_such_module_anywhere", "import failed: ModuleNotFoundError"),
    "syntax_error": ("def (:", "import failed: SyntaxError"),
    "raises_at_import": ("raise ValueError", "import failed: ValueError"),
    "exits_at_import": ("import sys; sys.exit('no licence')", "import failed: SystemExit: no licence"),
    "empty": ("", "describe_vendor answered NoneType"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_module_that_is_no_plugin_is_disabled_with_its_reason(install_plugin, kind):
    source, reason = BROKEN[kind]
    registry = loaded(install_plugin("broken", source), install_plugin("sunny"))
    assert problem_of(registry, "broken").startswith(reason)
    assert [vendor.name for vendor in registry.vendors] == ["sunny"]


FLAWED = {
    "lies_about_its_name": ("VENDOR = __import__('msgspec').structs.replace(VENDOR, name='tesla')", "it calls itself"),
    "unknown_hook": ("@hookimpl\ndef fetch_everything(ctx): ...", "unknown hook fetch_everything"),
    "default": (
        "@hookimpl\nasync def fetch_site(ctx, grant, site_id='x'): ...",
        "fetch_site: argument site_id must be a plain positional one",
    ),
    "keyword_only": (
        "@hookimpl\nasync def fetch_site(ctx, *, grant): ...",
        "fetch_site: argument grant must be a plain positional one",
    ),
    "var_keyword": (
        "@hookimpl\nasync def fetch_site(ctx, **rest): ...",
        "fetch_site: argument rest must be a plain positional one",
    ),
    "var_positional": (
        "@hookimpl\nasync def fetch_site(ctx, *rest): ...",
        "fetch_site: argument rest must be a plain positional one",
    ),
    "unknown_argument": ("@hookimpl\nasync def fetch_site(ctx, grant, sites): ...", "Argument(s) {'sites'}"),
    "missing_hook": ("del fetch_site", "hooks missing: fetch_site"),
    "unmarked_hook": ("async def fetch_site(ctx): ...", "hooks missing: fetch_site"),
    "missing_refresh": (
        "VENDOR = __import__('msgspec').structs.replace(VENDOR, refresh=Refresh.ROTATING)",
        "hooks missing: refresh",
    ),
    "missing_authorize": (
        "VENDOR = __import__('msgspec').structs.replace(VENDOR, flow=Flow.REDIRECT)",
        "hooks missing: build_authorize_url",
    ),
    "describe_wrong_type": ("@hookimpl\ndef describe_vendor(): return {}", "describe_vendor answered dict"),
    "describe_async": ("@hookimpl\nasync def describe_vendor(): return VENDOR", "describe_vendor answered coroutine"),
    "describe_raises": ("@hookimpl\ndef describe_vendor(): raise OSError('no such model')", "no such model"),
    "describe_raises_without_text": ("@hookimpl\ndef describe_vendor(): raise ValueError", "ValueError"),
    "describe_exits": ("@hookimpl\ndef describe_vendor(): raise SystemExit(3)", "3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FLAWED)
def test_a_plugin_that_breaks_the_contract_is_disabled_with_its_reason(install_plugin, kind):
    more, reason = FLAWED[kind]
    registry = loaded(install_plugin("flawed", more=more), install_plugin("sunny"))
    assert reason in problem_of(registry, "flawed")
    assert [vendor.name for vendor in registry.vendors] == ["sunny"]


@pytest.mark.parametrize("kind", FLAWED)
async def test_a_refused_plugin_takes_part_in_no_call(install_plugin, kind):
    registry = loaded(install_plugin("flawed", more=FLAWED[kind][0]), install_plugin("sunny"))
    assert (await registry.fetch_site("sunny", context(), GRANT, "1")).name == "sunny"
    with pytest.raises(UnknownVendor):
        await registry.fetch_site("flawed", context(), GRANT, "1")


def test_a_name_that_two_distributions_claim_is_nobodys(install_plugin):
    """S27: who comes first by chance must not take over another's vendor."""
    entries = [install_plugin("twin", distribution=f"joinder-{name}") for name in "ba"]
    problem = "joinder-a and joinder-b both bring twin; name one of them in JOINDER_PLUGINS"
    assert [entry.problem for entry in loaded(*entries).installed] == [problem, problem]
    chosen = loaded(*entries, allow=("joinder-b",))
    assert [entry.distribution for entry in chosen.installed if entry.vendor] == ["joinder-b"]


def test_of_two_that_bring_a_vendor_only_the_one_whose_it_is_is_imported(install_plugin):
    """S27: a second distribution neither takes a vendor over nor stops it."""
    stranger = install_plugin("twin", distribution="joinder-a", more="raise SystemExit('imported')")
    registry = loaded(install_plugin("twin", distribution="joinder-b"), stranger)
    registry.decide("twin", lambda distribution: None if distribution == "joinder-b" else "it is joinder-b's")
    assert {entry.distribution: entry.problem for entry in registry.installed} == {
        "joinder-b": None,
        "joinder-a": "it is joinder-b's",
    }
    registry.decide("twin", lambda distribution: None)  # it is decided
    assert [vendor.name for vendor in registry.vendors] == ["twin"]


OTHER_CONTRACTS = {
    "newer_minor": ("contract='1.7'", "it needs contract 1.7, this Joinder has 1.0: upgrade Joinder"),
    "newer_major": ("contract='2.0'", "it needs contract 2.0, this Joinder has 1.0: upgrade Joinder"),
    "older_major": (
        "contract='0.9'",
        "it was written for contract 0.9, this Joinder has 1.0: upgrade the plugin",
    ),
    "no_contract": ("contract='latest'", "its contract must be two numbers such as 1.0, not 'latest'"),
    "no_text": ("contract=1", "its contract must be two numbers such as 1.0, not 1"),
}


@pytest.mark.parametrize("kind", OTHER_CONTRACTS)
def test_a_plugin_of_another_contract_is_told_which_side_is_to_be_upgraded(install_plugin, kind):
    change, problem = OTHER_CONTRACTS[kind]
    more = f"VENDOR = __import__('msgspec').structs.replace(VENDOR, {change})"
    registry = loaded(install_plugin("other", more=more), install_plugin("sunny"))
    assert problem_of(registry, "other") == problem
    assert [vendor.name for vendor in registry.vendors] == ["sunny"]


@pytest.mark.parametrize(
    "more",
    [
        "from joinder import Tariff",
        "from joinder.vendor import Tariff",
        "import joinder; joinder.Tariff",
        "from joinder.tariffs import Tariff",
        "Field(name='a', label='A', colour='red')",
    ],
)
def test_a_plugin_that_uses_what_is_not_here_yet_is_told_to_upgrade(install_plugin, more):
    told = problem_of(loaded(install_plugin("newer", more=f"from joinder import Field\n{more}")), "newer")
    assert told.startswith("it uses what contract 1.0 of this Joinder has not")
    assert told.endswith("upgrade Joinder or the plugin")


@pytest.mark.parametrize("requires", ["joinder>=7", "Joinder[simulator]>=0.0.1,<0.0.2"])
def test_a_distribution_for_another_joinder_is_never_imported(install_plugin, tmp_path, requires):
    marker = tmp_path / "imported"
    entry = install_plugin("hostile", HOSTILE.format(marker=str(marker)), requires=["httpx", "what is this", requires])
    assert "upgrade the older of the two" in problem_of(loaded(entry), "hostile")
    assert not marker.exists()


def test_a_plugin_for_this_joinder_loads(install_plugin):
    entry = install_plugin("sunny", requires=["joinder>=0.0.1", 'joinder>=99; extra == "later"'])
    assert loaded(entry).installed[0].problem is None


def test_a_name_stays_free_after_its_first_plugin_was_refused(install_plugin):
    registry = loaded(install_plugin("sun", more="del fetch_site"))
    assert registry.add("sun", FakePlugin("sun")).problem is None


def test_every_hook_may_be_missing_arguments_at_the_end(install_plugin):
    more = "@hookimpl\nasync def fetch_site(): return Site(vendor_id='0', name='none')"
    assert loaded(install_plugin("sunny", more=more)).installed[0].problem is None


HOSTILE = """
from pathlib import Path
Path({marker!r}).write_text("imported")
"""


def test_a_distribution_that_is_not_allowed_is_never_imported(install_plugin, tmp_path):
    marker = tmp_path / "imported"
    hostile = install_plugin("hostile", HOSTILE.format(marker=str(marker)))
    registry = loaded(hostile, install_plugin("sunny"), allow=("joinder-sunny",))
    assert not marker.exists()
    assert problem_of(registry, "hostile") == "found, not enabled: add joinder-hostile to JOINDER_PLUGINS to load it"
    assert [vendor.name for vendor in registry.vendors] == ["sunny"]


def test_the_hostile_entry_point_writes_its_file_when_it_is_allowed(install_plugin, tmp_path):
    marker = tmp_path / "imported"
    loaded(install_plugin("hostile", HOSTILE.format(marker=str(marker))), allow=("joinder-hostile",))
    assert marker.exists()


def test_an_empty_allow_list_loads_nothing(install_plugin):
    assert loaded(install_plugin("sunny"), allow=()).vendors == []


def test_an_entry_point_without_a_distribution_is_not_allowed_by_any_list(install_plugin):
    entry = install_plugin("sunny")
    vars(entry)["dist"] = None
    assert loaded(entry, allow=("joinder-sunny",)).vendors == []


def test_a_plugin_object_that_cannot_be_hashed_is_refused():
    class Unhashable(FakePlugin):
        __hash__ = None  # type: ignore[assignment]

    registry = Registry()
    assert registry.add("odd", Unhashable("odd")).problem
    assert registry.add("sunny", FakePlugin("sunny")).problem is None


def test_a_plugin_object_whose_members_cannot_be_listed_is_refused():
    class Closed(FakePlugin):
        def __dir__(self) -> list[str]:
            raise RuntimeError("go away")

    assert Registry().add("closed", Closed("closed")).problem == "go away"


def test_a_disabled_plugin_is_logged_once_with_its_reason(install_plugin, caplog):
    with caplog.at_level(logging.WARNING, "joinder.vendors"):
        loaded(install_plugin("flawed", more="del fetch_site"))
    assert [record.getMessage() for record in caplog.records] == ["plugin flawed disabled: hooks missing: fetch_site"]


# Calling -------------------------------------------------------------------------------------------------------------


class FakePlugin:
    """A vendor whose every answer a test can replace."""

    def __init__(self, name: str, **facts: Any) -> None:
        self.name, self.facts, self.calls = name, facts, []
        self.answers: dict[str, Any] = {}

    async def _answer(self, hook: str, default: object) -> Any:
        self.calls.append(hook)
        answer = self.answers.get(hook, default)
        if isinstance(answer, BaseException):
            raise answer
        return await answer() if callable(answer) else answer

    @hookimpl
    def describe_vendor(self) -> Vendor:
        facts = {"flow": Flow.FORM, "refresh": Refresh.ROTATING, **self.facts}
        limits = Limits(poll_every=timedelta(hours=1))
        return Vendor(
            name=self.name, label=self.name, docs_url="https://docs.example", limits=limits, capabilities={}, **facts
        )

    @hookimpl
    async def build_authorize_url(self, ctx: Context, request: AuthorizeRequest) -> str:
        return await self._answer("build_authorize_url", "")

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        return await self._answer("handle_callback", Consent(grant=GRANT))

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        return await self._answer("refresh", GRANT)

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        return await self._answer("fetch_site", SITE)

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        return await self._answer("fetch_readings", Readings())


def context(**app_fields: str) -> Context:
    factory = HttpFactory()
    return Context(
        http=None,  # type: ignore[arg-type]  # no hook here calls out
        device=factory.device,
        app=AppCredentials(type="app", secrets=Secrets(app_fields)) if app_fields else None,
        app_token=TokenCache().of("acme", None),
        options={},
        now=lambda: datetime.now(UTC),
        log=logging.getLogger("test"),
    )


QUERY = ReadingsQuery(site=SITE, start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))
CALLS = {
    "handle_callback": (Callback(values=Secrets({})),),
    "refresh": (GRANT,),
    "fetch_site": (GRANT, "1"),
    "fetch_readings": (GRANT, QUERY),
}


def with_fake(hook: str, answer: object) -> tuple[Registry, FakePlugin]:
    registry, fake = Registry(), FakePlugin("fake")
    fake.answers[hook] = answer
    assert registry.add("fake", fake).problem is None
    return registry, fake


async def call(registry: Registry, hook: str) -> Any:
    return await getattr(registry, hook)("fake", context(), *CALLS[hook])


def test_every_hook_of_the_contract_is_called_here():
    assert set(CALLS) | {"describe_vendor", "build_authorize_url"} == set(HOOKS)


@pytest.mark.parametrize("hook", CALLS)
@pytest.mark.parametrize("answer", [None, {}, "text", 7, object()])
async def test_an_answer_of_the_wrong_type_is_a_plugin_bug(hook, answer):
    registry, _ = with_fake(hook, answer)
    with pytest.raises(PluginBug, match=f"plugin fake answered {type(answer).__name__} to {hook}"):
        await call(registry, hook)


THROWN = [ValueError(CANARY), KeyError(CANARY), SystemExit(CANARY), ExceptionGroup(CANARY, [OSError(CANARY)])]


@pytest.mark.parametrize("hook", CALLS)
@pytest.mark.parametrize("error", THROWN, ids=lambda error: type(error).__name__)
async def test_an_exception_of_a_plugin_is_a_plugin_bug_without_its_text(hook, error):
    registry, _ = with_fake(hook, error)
    with pytest.raises(PluginBug) as caught:
        await call(registry, hook)
    bug = caught.value
    seen = "".join((str(bug), repr(bug), repr(bug.args), bug.detail or "", *traceback.format_exception(bug)))
    assert CANARY not in seen
    assert bug.detail is not None
    assert bug.detail.startswith(f"{type(error).__name__} at test_registry.py:")


@pytest.mark.parametrize("hook", CALLS)
async def test_an_error_of_the_tree_reaches_the_caller_as_it_is(hook):
    lost = AuthorizationLost("gone")
    registry, _ = with_fake(hook, lost)
    with pytest.raises(AuthorizationLost) as caught:
        await call(registry, hook)
    assert caught.value is lost


@pytest.mark.parametrize("hook", CALLS)
async def test_a_timeout_in_a_plugin_is_transient(hook):
    registry, _ = with_fake(hook, TimeoutError(CANARY))
    with pytest.raises(TransientError) as caught:
        await call(registry, hook)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("hook", CALLS)
async def test_a_hook_that_hangs_is_ended_at_the_deadline(hook, monkeypatch):
    monkeypatch.setattr(hook_answers, "HOOK_DEADLINE", 0.02)
    registry, _ = with_fake(hook, asyncio.Event().wait)
    with pytest.raises(TransientError, match=f"did not finish {hook}"):
        await call(registry, hook)


class Described:
    """An OAuth vendor that leaves out what its description says."""

    def __init__(self, oauth2: OAuth2 | None) -> None:
        self.oauth2 = oauth2

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return Vendor(
            name="plain",
            label="Plain",
            docs_url="https://docs.example",
            flow=Flow.REDIRECT,
            hosts=("login.vendor.example",),
            oauth2=self.oauth2,
            refresh=Refresh.ROTATING,
            limits=Limits(poll_every=timedelta(hours=1)),
            capabilities={},
        )

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        return Consent(grant=GRANT)

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        return SITE

    @hookimpl
    async def fetch_readings(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        return Readings()


async def test_what_oauth_data_says_needs_no_hook():
    host = "https://login.vendor.example"
    registry = Registry()
    assert registry.add("plain", Described(OAuth2(authorize_url=f"{host}/a", token_url=f"{host}/t"))).problem is None
    url = await registry.build_authorize_url("plain", context(clientID="client-1"), REQUEST)
    assert parse_qs(urlsplit(url).query)["client_id"] == ["client-1"]
    with pytest.raises(AuthorizationLost):  # of oauth.renewed: this grant has no refresh token
        await registry.refresh("plain", context(clientID="client-1"), GRANT)


class LogsIn(FakePlugin):
    """Makes a session of the grant's key before it reads."""

    sessions: list[str]

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        self.sessions.append(await ctx.grant_token(self._log_in))
        return SITE

    async def _log_in(self) -> MachineToken:
        return MachineToken(value=f"session-{len(self.sessions)}")


async def test_a_session_of_a_grant_is_made_once_and_for_that_grant_alone():
    registry, plugin = Registry(), LogsIn("fake")
    plugin.sessions = []
    assert registry.add("fake", plugin).problem is None
    other = replace(GRANT, secrets=Secrets({"access_token": "of-another-owner"}))
    for grant in (GRANT, GRANT, other, GRANT):
        await registry.fetch_site("fake", context(), grant, "1")
    assert plugin.sessions == ["session-0", "session-0", "session-2", "session-0"]


def test_without_oauth_data_the_hooks_are_missing():
    assert Registry().add("plain", Described(None)).problem == "hooks missing: build_authorize_url, refresh"


async def test_hooks_may_be_plain_functions(install_plugin):
    more = "@hookimpl\ndef fetch_site(grant, site_id): return Site(vendor_id=site_id, name='plain')"
    registry = loaded(install_plugin("sunny", more=more))
    assert (await registry.fetch_site("sunny", context(), GRANT, "7")) == Site(vendor_id="7", name="plain")


@pytest.mark.parametrize("hook", CALLS)
async def test_a_call_for_one_vendor_never_reaches_another(hook):
    registry, fake = with_fake(hook, None)
    other = FakePlugin("other")
    assert registry.add("other", other).problem is None
    with pytest.raises(PluginBug):  # None: with a second plugin in the chain, pluggy would have asked that one
        await call(registry, hook)
    assert fake.calls == [hook]
    assert other.calls == []


@pytest.mark.parametrize("hook", CALLS)
async def test_an_unknown_vendor_is_told_apart_from_a_failing_one(hook):
    with pytest.raises(UnknownVendor):
        await getattr(Registry(), hook)("nobody", context(), *CALLS[hook])


async def test_a_plugin_that_is_disabled_later_answers_for_nobody():
    registry, gone, other = Registry(), FakePlugin("gone"), FakePlugin("other")
    for plugin in (other, gone):  # the one registered last is asked first
        assert registry.add(plugin.name, plugin).problem is None
    registry.disable("gone", "it belongs to another distribution")
    assert await registry.fetch_site("other", context(), GRANT, "1") == SITE
    assert (gone.calls, other.calls) == ([], ["fetch_site"])
    assert [vendor.name for vendor in registry.vendors] == ["other"]
    with pytest.raises(UnknownVendor, match="belongs to another distribution"):
        await registry.fetch_site("gone", context(), GRANT, "1")


async def test_a_wrapper_plugin_around_every_vendor_still_runs():
    """The registry has no public way to add one: it would be registered on its manager, as here."""
    seen = []

    class AuditTrail:
        @hookimpl(wrapper=True)
        def fetch_site(self, site_id: str) -> Any:
            seen.append(site_id)
            return (yield)

    registry, _ = with_fake("fetch_site", SITE)
    registry.add("other", FakePlugin("other"))
    manager: pluggy.PluginManager = registry._manager
    manager.register(AuditTrail(), name="audit-trail")
    assert await call(registry, "fetch_site") == SITE
    assert seen == ["1"]


# The consent URL -----------------------------------------------------------------------------------------------------

REQUEST = AuthorizeRequest(
    state="state-1", redirect_uri="https://hub.example/join/fake/auth-granted", code_challenge="challenge-1"
)
HONEST = {
    "client_id": "client-1",
    "response_type": "code",
    "state": REQUEST.state,
    "redirect_uri": REQUEST.redirect_uri,
    "code_challenge": "challenge-1",
    "code_challenge_method": "S256",
}
SECRET = "s3cret/with+signs=="
FIELDS = (
    Field(name="clientID", label="id"),
    Field(name="clientSecret", label="secret", secret=True),
    Field(name="region", label="region"),
    Field(name="note", label="note", required=False, secret=True),
)


async def authorize(url: object, request: AuthorizeRequest = REQUEST) -> str:
    oauth2 = OAuth2(authorize_url="https://login.vendor.example/oauth", token_url="https://login.vendor.example/token")
    registry = Registry()
    fake = FakePlugin(
        "fake",
        flow=Flow.REDIRECT,
        hosts=("login.vendor.example",),
        oauth2=oauth2,
        app_credentials=(AppCredentialType(type="app", label="App", fields=FIELDS),),
    )
    fake.answers["build_authorize_url"] = url
    assert registry.add("fake", fake).problem is None
    ctx = context(clientID="client-1", clientSecret=SECRET, region="eu", note="")
    return await registry.build_authorize_url("fake", ctx, request)


def consent_url(base: str = "https://login.vendor.example/oauth/eu", **changes: str | None) -> str:
    sent = {name: value for name, value in {**HONEST, **changes}.items() if value is not None}
    return f"{base}?{urlencode(sent)}"


async def test_an_honest_consent_url_passes():
    assert await authorize(consent_url()) == consent_url()


SUNG = OAuth2(
    authorize_url="https://login.vendor.example/#/authorized-app?cloud=3",
    token_url="https://login.vendor.example/token",
    redirect_parameter="redirectUrl",
    client_id_parameter="applicationId",
    state_in="redirect_uri",
    fragment=True,
)


SUNG_HOSTS = ("login.vendor.example", "au.vendor.example")


async def authorize_sung(url: object) -> str:
    registry, fake = Registry(), FakePlugin("fake", flow=Flow.REDIRECT, hosts=SUNG_HOSTS, oauth2=SUNG)
    fake.answers["build_authorize_url"] = url
    assert registry.add("fake", fake).problem is None
    return await registry.build_authorize_url("fake", context(clientID="app-7"), SUNG_REQUEST)


SUNG_REQUEST = AuthorizeRequest(state="s-1", redirect_uri="https://hub.example/join/fake/auth-granted?state=s-1")


async def test_a_vendor_without_state_gets_it_in_the_redirect_uri_behind_its_hash():
    url = oauth.authorize_url(SUNG, context(clientID="app-7").require_app(), SUNG_REQUEST)
    place, _, sent = url.partition("&")
    assert place == "https://login.vendor.example/#/authorized-app?cloud=3"
    assert parse_qs(sent) == {
        "response_type": ["code"], "applicationId": ["app-7"], "redirectUrl": [SUNG_REQUEST.redirect_uri],
    }  # fmt: skip
    assert await authorize_sung(url) == url
    elsewhere = url.replace("login.vendor", "au.vendor")  # the same page in another region's cloud
    assert await authorize_sung(elsewhere) == elsewhere
    for wrong in (
        url.replace("login.vendor", "us.vendor"),
        url.replace("%3Fstate%3Ds-1", ""),
        url.replace("#/authorized-app", "#/elsewhere"),
        url.replace("/#/authorized-app", "/deep#/authorized-app"),
        url.replace("#", "?"),
    ):
        with pytest.raises(PluginBug):
            await authorize_sung(wrong)


async def test_a_vendor_without_pkce_needs_no_challenge():
    url = consent_url(code_challenge=None, code_challenge_method=None)
    assert await authorize(url, replace(REQUEST, code_challenge=None)) == url


LIES = {
    "state changed": consent_url(state="other"),
    "state missing": consent_url(state=None),
    "state empty": consent_url(state=""),
    "state twice": consent_url() + "&state=other",
    "redirect changed": consent_url(redirect_uri="https://evil.example/"),
    "redirect missing": consent_url(redirect_uri=None),
    "redirect twice": consent_url() + "&redirect_uri=https%3A%2F%2Fevil.example",
    "challenge changed": consent_url(code_challenge="other"),
    "challenge missing": consent_url(code_challenge=None),
    "challenge plain": consent_url(code_challenge_method="plain"),
    "challenge method missing": consent_url(code_challenge_method=None),
    "foreign host": consent_url("https://evil.example/oauth"),
    "host as prefix": consent_url("https://login.vendor.example.evil.example/oauth"),
    "host with a dot": consent_url("https://login.vendor.example./oauth"),
    "subdomain": consent_url("https://a.login.vendor.example/oauth"),
    "http": consent_url("http://login.vendor.example/oauth"),
    "scheme-relative": consent_url("//login.vendor.example/oauth"),
    "javascript": consent_url("javascript://login.vendor.example/oauth"),
    "userinfo": consent_url("https://user@login.vendor.example/oauth"),
    "userinfo without a name": consent_url("https://:word@login.vendor.example/oauth"),
    "empty userinfo": consent_url("https://@login.vendor.example/oauth"),
    "backslash host": consent_url("https://evil.example\\@login.vendor.example/oauth"),
    "fragment": consent_url() + "#at",
    "all in the fragment": "https://login.vendor.example/oauth#" + urlencode(HONEST),
    "no host": consent_url("https:///oauth"),
    "broken brackets": consent_url("https://[login.vendor.example/oauth"),
    "header injection": consent_url("https://login.vendor.example/oauth\r\nSet-Cookie: a=b"),
    "newline in the host": consent_url("https://login.vendor\n.example/oauth"),
    "leading space": " " + consent_url(),
    "not ascii": consent_url("https://login.vendor.example/öauth"),
    "secret in the path": consent_url("https://login.vendor.example/plain-s3cret/with+signs==").replace("plain-", ""),
    "secret in the query": consent_url(client_secret=SECRET),
    "secret encoded in the path": consent_url(f"https://login.vendor.example/{quote(SECRET, safe='')}"),
    "secret as client_id": consent_url(client_id=SECRET),
}  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
async def test_a_consent_url_that_lies_is_a_plugin_bug(kind):
    with pytest.raises(PluginBug) as caught:
        await authorize(LIES[kind])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("answer", [None, b"https://login.vendor.example", 7])
async def test_a_consent_url_of_another_type_is_a_plugin_bug(answer):
    with pytest.raises(PluginBug):
        await authorize(answer)


async def test_a_vendor_error_while_building_the_url_passes():
    with pytest.raises(VendorError) as caught:
        await authorize(TransientError("later"))
    assert type(caught.value) is TransientError


def test_the_registry_module_is_the_only_one_that_imports_pluggy():
    source = Path(hook_answers.__file__).parents[1]
    importers = {
        path.relative_to(source).as_posix() for path in source.rglob("*.py") if "import pluggy" in path.read_text()
    }
    assert importers == {"vendors/registry.py", "hookspecs.py"}
