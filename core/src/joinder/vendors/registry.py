"""The one typed door to the plugins: finds them, checks them, calls them. Nothing else touches pluggy's manager."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import EntryPoint
from typing import Any, Protocol, TypeVar

import pluggy

from joinder import oauth, plugins
from joinder.clean import clean_text
from joinder.clock import utc_now
from joinder.energy import Readings, ReadingsQuery, Site
from joinder.errors import ConsentContinues, NotSupported, PluginBug, UnknownVendor
from joinder.grants import AuthorizeRequest, Callback, Consent, Context, Grant
from joinder.hookspecs import VendorSpecs
from joinder.observe import tracing
from joinder.observe.log_context import log_context
from joinder.plugins import Found
from joinder.redact import Secrets
from joinder.vendor import OperatorAction, Refresh, Vendor
from joinder.vendors import asked
from joinder.vendors.admission import (
    BY_DESCRIPTION,
    HOOKS,
    Refused,
    check_contract,
    check_devices,
    check_fields,
    check_hooks,
    check_signatures,
    other_contract,
)
from joinder.vendors.authorize import check_authorize_url
from joinder.vendors.gate import check_continuation, checked_consent, checked_grant, checked_readings, checked_site
from joinder.vendors.grant_versions import up_to_date
from joinder.vendors.hook_answers import gated, typed
from joinder.vendors.token_cache import TokenCache

T = TypeVar("T")
A = TypeVar("A", Site, Readings)
TEXT_MOST = 2000  # of the sentence an operator action answers
Around = Callable[[str, str, Context], AbstractAsyncContextManager[None]]  # vendor, hook, context
ENTRY_POINT_GROUP = "joinder.vendors"
__all__ = ["ENTRY_POINT_GROUP", "HOOKS", "Installed", "Observer", "Registry", "UnknownVendor", "Unobserved"]
log = logging.getLogger("joinder.vendors")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A plugin that was found: working (`vendor`), or not (`problem` says why)."""

    name: str
    distribution: str
    version: str
    vendor: Vendor | None = None
    problem: str | None = None


class Observer(Protocol):
    """Counts what the registry does (metrics.py); the plugin API itself needs no metrics."""

    def calling(self, vendor: str, hook: str) -> AbstractContextManager[object]: ...

    def blocked(self, vendor: str) -> None: ...

    def refused(self, vendor: str, rule: str, count: int) -> None: ...


class Unobserved:
    """Counts nothing."""

    def calling(self, vendor: str, hook: str) -> AbstractContextManager[object]:
        return nullcontext()

    def blocked(self, vendor: str) -> None:
        pass

    def refused(self, vendor: str, rule: str, count: int) -> None:
        pass


class Registry:
    """The vendors of this process. `load` never raises for a broken plugin: it disables that one and says why."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("joinder")
        self._manager.add_hookspecs(VendorSpecs)
        self._plugins: dict[str, object] = {}
        self._blockers: dict[str, str] = {}  # plugins that stopped the whole server, and how
        self._contested: dict[str, list[Found]] = {}  # vendors that several distributions bring: none is loaded
        self.installed: list[Installed] = []
        self.sessions = TokenCache()
        self.observer: Observer = Unobserved()
        self.around: Around = lambda vendor, hook, ctx: nullcontext()  # every call of a hook or action runs inside

    @classmethod
    def load(cls, *, allow: Collection[str] | None = None, found: Iterable[EntryPoint] | None = None) -> Registry:
        """Loads every entry point of the group; with `allow`, only those of the named distributions are imported.

        Raises ConfigError where `allow` names what is not installed (plugins.py).
        """
        registry = cls()
        for one in plugins.found(ENTRY_POINT_GROUP, allow) if found is None else plugins.judged(found, allow):
            if one.refusal is None:
                registry._load(one)
                continue
            registry._note(one.entry.name, one.distribution, one.version, problem=one.refusal)
            if one.is_contested:
                registry._contested.setdefault(one.entry.name, []).append(one)
        return registry

    def decide(self, name: str, problem_of: Callable[[str], str | None]) -> None:
        """Loads, of several distributions that bring a vendor, the one against which nothing speaks.

        `problem_of` a distribution: what does. Nothing of the others is imported.
        """
        for one in self._contested.pop(name, ()):
            self.installed = [
                each for each in self.installed if (each.name, each.distribution) != (name, one.distribution)
            ]
            problem = problem_of(one.distribution)
            if problem is None:
                self._load(one)
            else:
                self._note(name, one.distribution, one.version, problem=problem)

    def _load(self, one: Found) -> None:
        try:
            plugin = one.entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one broken plugin must not stop the service
            problem = other_contract(error) or f"import failed: {type(error).__name__}: {error}"
            self._note(one.entry.name, one.distribution, one.version, problem=problem)
        else:
            self.add(one.entry.name, plugin, distribution=one.distribution, version=one.version)

    def add(self, name: str, plugin: object, *, distribution: str = "local", version: str = "0") -> Installed:
        """Registers one plugin object after checking it; a failing one is noted with its reason."""
        try:
            vendor = self._register(name, plugin)
        except Refused as reason:
            return self._note(name, distribution, version, problem=str(reason))
        return self._note(name, distribution, version, vendor=vendor)

    def _note(
        self,
        name: str,
        distribution: str,
        version: str,
        *,
        vendor: Vendor | None = None,
        problem: str | None = None,
    ) -> Installed:
        entry = Installed(name=name, distribution=distribution, version=version, vendor=vendor, problem=problem)
        self.installed.append(entry)
        if problem:
            log.warning("plugin %s disabled: %s", name, problem)
        return entry

    def _register(self, name: str, plugin: object) -> Vendor:
        if name in self._plugins:
            raise Refused(f"another plugin is already named {name}")
        try:
            hash(plugin)  # pluggy keeps plugins in sets: one that cannot be hashed would break calls to the others
            check_signatures(plugin, self._manager.parse_hookimpl_opts)
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
            vendor = self._described(name, plugin)
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            if isinstance(error, Refused):
                raise
            raise Refused(_last_line(error) or type(error).__name__) from None
        self._plugins[name] = plugin
        return vendor

    def _described(self, name: str, plugin: object) -> Vendor:
        others = [other for known, other in self._manager.list_name_plugin() if known != name and other]
        vendor = self._manager.subset_hook_caller("describe_vendor", others)()
        if inspect.iscoroutine(vendor):
            vendor.close()  # Python warns of one that nobody awaits
        if not isinstance(vendor, Vendor):
            raise Refused(f"describe_vendor answered {type(vendor).__name__}, not Vendor")
        check_contract(vendor)
        if vendor.name != name:
            raise Refused(f"it calls itself {vendor.name}, its entry point says {name}")
        implemented = {hook for hook in HOOKS if self._manager.parse_hookimpl_opts(plugin, hook) is not None}
        check_hooks(vendor, implemented)
        check_fields(vendor)
        check_devices(vendor)
        return vendor

    @property
    def vendors(self) -> list[Vendor]:
        return [entry.vendor for entry in self.installed if entry.vendor is not None]

    @property
    def brought(self) -> dict[str, str]:
        """Returns vendor → distribution, of the plugins that work."""
        return {entry.name: entry.distribution for entry in self.installed if entry.vendor is not None}

    def lists_sites(self, name: str) -> bool:
        """Tells whether `refresh` of this vendor renews nothing and tells the sites alone: its keys do not end."""
        plugin = self._plugins.get(name)
        has_hook = plugin is not None and self._manager.parse_hookimpl_opts(plugin, "refresh") is not None
        return has_hook and self.vendor(name).refresh is Refresh.STATIC_KEY

    def disable(self, name: str, problem: str) -> None:
        """Takes the plugin out of every call; whoever asks for its vendor reads the problem."""
        if self._plugins.pop(name, None) is not None:
            self._manager.unregister(name=name)  # or it would answer for the others
        self.installed = [
            replace(entry, vendor=None, problem=problem) if entry.name == name and entry.vendor else entry
            for entry in self.installed
        ]
        log.warning("plugin %s disabled: %s", name, problem)

    def change(self, name: str, change: Callable[[Vendor], Vendor]) -> None:
        """Sets what the operator wants in place of what the plugin declares.

        Nothing happens where no such vendor works.
        """
        self.installed = [
            replace(entry, vendor=change(entry.vendor)) if entry.name == name and entry.vendor else entry
            for entry in self.installed
        ]

    def vendor(self, name: str) -> Vendor:
        """Returns what the vendor's plugin declares. Raises UnknownVendor."""
        for vendor in self.vendors:
            if vendor.name == name:
                return vendor
        raise self._unknown(name)

    def _unknown(self, name: str) -> UnknownVendor:
        """Says why its plugin does not work, if there is one."""
        problem = next((entry.problem for entry in self.installed if entry.name == name and entry.problem), None)
        if problem:
            return UnknownVendor(f"The plugin for {name} does not work: {problem}")
        return UnknownVendor(f"No working plugin for {name} is installed; see `joinder vendors`")

    async def build_authorize_url(self, name: str, ctx: Context, request: AuthorizeRequest) -> str:
        """Returns the vendor's consent URL, proven to carry core's state, redirect URI and challenge unchanged.

        Raises VendorError.
        """

        def check(url: str) -> str:
            check_authorize_url(self.vendor(name), url, request, ctx)
            return url

        return await self._call(name, "build_authorize_url", str, check, ctx=ctx, request=request)

    def _by_description(self, name: str, hook: str, arguments: Mapping[str, Any]) -> Any:
        """Answers a hook that the plugin leaves out, since its OAuth2 says all of it."""
        oauth2, ctx = self.vendor(name).oauth2, arguments["ctx"]
        if oauth2 is None:
            raise PluginBug(f"plugin {name} has no hook {hook}")
        if hook == "refresh":
            return oauth.renewed(ctx, oauth2, arguments["grant"])
        return oauth.authorize_url(oauth2, ctx.require_app(), arguments["request"])

    async def handle_callback(self, name: str, ctx: Context, callback: Callback) -> Consent:
        """Returns what the gate lets through of the consent, as the hooks below do (vendors/gate).

        Raises VendorError.
        """
        try:
            return await self._call(
                name,
                "handle_callback",
                Consent,
                lambda consent: checked_consent(consent, self.vendor(name)),
                ctx=ctx,
                callback=callback,
            )
        except ConsentContinues as asked:
            check_continuation(asked, name)
            raise

    async def refresh(self, name: str, ctx: Context, grant: Grant) -> Grant:
        vendor, ctx = self.vendor(name), self._with_session(name, ctx, grant)
        grant = up_to_date(vendor, grant)

        def check(renewed: Grant) -> Grant:
            return replace(checked_grant(renewed, name, grant), made_as=vendor.grant_version)

        return await self._call(name, "refresh", Grant, check, ctx=ctx, grant=grant)

    async def fetch_site(self, name: str, ctx: Context, grant: Grant, site_id: str) -> Site:
        ctx, grant = self._with_session(name, ctx, grant), up_to_date(self.vendor(name), grant)

        def check(site: Site) -> Site:
            return self._noted(name, checked_site(site, site_id, now=_now(ctx)))

        with asked.about(site_id):
            return await self._call(name, "fetch_site", Site, check, ctx=ctx, grant=grant, site_id=site_id)

    async def fetch_readings(self, name: str, ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
        ctx, grant = self._with_session(name, ctx, grant), up_to_date(self.vendor(name), grant)

        def check(readings: Readings) -> Readings:
            return self._noted(name, checked_readings(readings, query, now=_now(ctx)))

        with asked.about(query.site.vendor_id):
            return await self._call(name, "fetch_readings", Readings, check, ctx=ctx, grant=grant, query=query)

    def _with_session(self, name: str, ctx: Context, grant: Grant) -> Context:
        """Lends the hook the session token of this grant alone."""
        return replace(ctx, grant_token=self.sessions.of_grant(name, grant)) if ctx is not None else ctx

    def _noted(self, name: str, answer: A) -> A:
        for refusal in answer.refused:
            self.observer.refused(name, refusal.rule, refusal.count)
        return answer

    def note_blocked(self, packages: Collection[str], seconds: float) -> None:
        """Disables the plugin whose code is on the stack of an event loop that stands still (watch.py)."""
        for name, plugin in self._plugins.items():
            module = getattr(plugin, "__name__", type(plugin).__module__)
            if module.partition(".")[0] in packages and name not in self._blockers:
                reason = f"plugin {name} blocked the whole server for {seconds:.0f} s; it is disabled until a restart"
                self._blockers[name] = reason
                log.critical(reason)
                self.observer.blocked(name)

    async def act(self, name: str, ctx: Context, action: OperatorAction, values: Mapping[str, str]) -> str:
        """Runs one of the vendor's operator actions; the sentence it answers."""
        async with self.around(name, "act", ctx):
            return await self._answer(name, f"action {action.name}", str, _sentence, lambda: action.run(ctx, values))

    async def revoke(self, name: str, ctx: Context, secrets: Secrets) -> None:
        """Ends a grant at the vendor, by what its description says; counted and traced as a hook."""
        oauth2 = self.vendor(name).oauth2
        if oauth2 is None:
            raise NotSupported(f"{name} has no OAuth endpoints")

        async def call() -> bool:
            await oauth.revoke(ctx, oauth2, secrets)
            return True

        async with self.around(name, "revoke", ctx):
            await self._answer(name, "revoke", bool, bool, call)

    async def _call(
        self, name: str, hook: str, answer_type: type[T], check: Callable[[T], T], /, **arguments: Any
    ) -> T:
        if name not in self._plugins:
            raise self._unknown(name)
        async with self.around(name, hook, arguments["ctx"]):
            return await self._answer(name, hook, answer_type, check, self._caller(name, hook, arguments))

    def _caller(self, name: str, hook: str, arguments: Mapping[str, Any]) -> Callable[[], Any]:
        if hook in BY_DESCRIPTION and self._manager.parse_hookimpl_opts(self._plugins[name], hook) is None:
            return lambda: self._by_description(name, hook, arguments)
        others = [plugin for other, plugin in self._plugins.items() if other != name]
        caller = self._manager.subset_hook_caller(hook, others)
        return lambda: caller(**arguments)

    async def _answer(
        self, name: str, what: str, answer_type: type[T], check: Callable[[T], T], call: Callable[[], Any]
    ) -> T:
        """Calls a hook, counted, and with the vendor's name on everything logged inside."""
        hook = what.partition(" ")[0]  # actions are the plugin's to name: together one hook
        traced = tracing.span(f"hook {hook}", vendor=name, hook=hook)
        with log_context(vendor=name), traced, self.observer.calling(name, hook):
            if name in self._blockers:
                raise PluginBug(self._blockers[name])
            return gated(name, what, await typed(name, what, answer_type, call), check)


def _sentence(text: str) -> str:
    return clean_text(text)[:TEXT_MOST]


def _now(ctx: Context | None) -> datetime:
    return ctx.now() if ctx is not None else utc_now()


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2].strip()
