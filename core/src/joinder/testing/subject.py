"""The plugin under test, its simulator running on loopback, and an owner's browser."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from msgspec import structs

from joinder.demo.owner import Page
from joinder.energy import Site
from joinder.errors import ConsentContinues, VendorError
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Consent, Context, Grant, GrantState
from joinder.http import HttpFactory
from joinder.places import zone_at
from joinder.plugins import found, loadable
from joinder.redact import Secrets
from joinder.simulate import ENTRY_POINT_GROUP as SIMULATORS
from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.run import networks_of, reroute_of, running
from joinder.simulate.truth import TrueSite
from joinder.testing.watch import Call, Watched, listening
from joinder.vendor import AppCredentialType, Field, Flow, Vendor, endpoint_hosts
from joinder.vendors.gate.rules import SENTENCES, Rule
from joinder.vendors.registry import ENTRY_POINT_GROUP as VENDORS
from joinder.vendors.registry import Registry, Unobserved
from joinder.vendors.token_cache import TokenCache

NOON = datetime(2026, 10, 28, 12, tzinfo=UTC)  # after both clock changes of 2026, on either side of the Atlantic
APPROVALS_MOST = 20
FORMS_MOST = 6  # of one consent: the first, and five further questions
APPROVAL_STEP_S = 30.0
HURRY_S = 0.5  # how long a hook under test waits for a stand-in that never answers


class Failed(AssertionError):
    """A check does not hold; the text says what was seen and what the contract asks for."""


class DoesNotApply(Exception):
    """A check has nothing to look at with this vendor; the text says what the vendor has not."""


def told(error: Exception) -> str:
    """Says it in one line, with what the operator would be told besides."""
    if isinstance(error, Failed):
        return str(error)
    detail = f" ({error.detail})" if isinstance(error, VendorError) and error.detail else ""
    return f"{type(error).__name__}: {error}{detail}"


@dataclass(kw_only=True)
class Subject:
    """One vendor plugin: its entry point, its simulator, the folder of its cassettes."""

    name: str
    entry: EntryPoint
    make_simulator: Callable[[], Simulator] | None
    cassettes: Path | None = None

    @classmethod
    def installed(cls, name: str, cassettes: Path | None = None, *, allow: Collection[str] | None = None) -> Subject:
        """Raises LookupError when no distribution that may be loaded has this entry point; `allow` as in plugins.py."""
        vendors, simulators = loadable(VENDORS, allow), loadable(SIMULATORS, allow)
        if name not in vendors:
            raise LookupError(_why_not(name, allow) or f"no vendor {name}; installed: {', '.join(sorted(vendors))}")
        make = simulators[name].load() if name in simulators else None
        return cls(name=name, entry=vendors[name], make_simulator=make, cassettes=cassettes or _brought(vendors[name]))

    def registry(self) -> Registry:
        """A registry with this plugin alone, as core loads it. Raises Failed with core's reason."""
        registry = Registry.load(found=[self.entry])
        problem = registry.installed[0].problem
        if problem:
            raise Failed(f"core disables the plugin: {problem}")
        return registry

    def vendor(self) -> Vendor:
        return self.registry().vendor(self.name)

    def simulator(self) -> Simulator:
        if self.make_simulator is None:
            raise Failed(f"no simulator: name one in the entry-point group {SIMULATORS}")
        return self.make_simulator()


def _brought(entry: EntryPoint) -> Path | None:
    """Returns the folder of cassettes inside an installed plugin's package, so that an operator can check it.

    A distribution of several vendors keeps one for each inside, by name; an editable one has them beside `src`.
    """
    spec = find_spec(entry.value.partition(":")[0].partition(".")[0])
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    folder, beside = package / "cassettes", package.parent.parent / "tests/cassettes"
    places = (folder / entry.name, folder, *([beside] if package.parent.name == "src" else []))
    return next((place for place in places if place.is_dir()), None)


def _why_not(name: str, allow: Collection[str] | None) -> str | None:
    """Why what is installed under this name is not loaded."""
    return next((one.refusal for one in found(VENDORS, allow, name=name)), None)


@dataclass(kw_only=True)
class Stand:
    """A plugin behind a real registry. `hurry_s` caps the deadline of every call it makes."""

    vendor: Vendor
    registry: Registry
    factory: HttpFactory
    clock: SimulatedClock
    simulator: Simulator
    origin: str = ""
    hurry_s: float | None = None
    ahead: timedelta = timedelta(0)  # how far our clock is before the vendor's
    tokens: TokenCache = field(init=False)
    calls: list[Call] = field(default_factory=list)  # all that the plugin made, in order
    told: list[str] = field(default_factory=list)  # all that was logged while it stood

    def __post_init__(self) -> None:
        self.registry.sessions = TokenCache(self.clock.now)
        self.tokens = TokenCache(self.clock.now)

    def app(self) -> AppCredentials | None:
        given = dict(self.simulator.app_credentials or {})
        given.pop("vendor", None)
        return AppCredentials(type=given.pop("type"), secrets=Secrets(given)) if given else None

    def context(self) -> Context:
        app = self.app()
        http = self.factory.vendor(self.vendor.hosts + endpoint_hosts(self.vendor, app))
        device = self.factory.device_access(self.vendor)

        def watched(client: Any) -> Any:
            return Watched(client, self.calls, self.hurry_s)

        return Context(
            http=watched(http),
            device=lambda address, **how: watched(device(address, **how)),
            app=app,
            app_token=self.tokens.of(self.vendor.name, app),
            options=self.simulator.flow_options,
            now=lambda: self.clock.now() + self.ahead,
            log=logging.getLogger(f"joinder.vendor.{self.vendor.name}"),
        )

    @property
    def flow(self) -> Flow:
        kind = self.credential_type()
        return Flow.OPERATOR if kind is not None and kind.flow is Flow.OPERATOR else self.vendor.flow

    def credential_type(self) -> AppCredentialType | None:
        app = self.app()
        return self.vendor.app_credential(app.type) if app else None

    def authorize_request(self) -> tuple[AuthorizeRequest, str | None]:
        """Makes the request as core does, with the verifier of its challenge."""
        pkce = self.vendor.oauth2 is not None and self.vendor.oauth2.pkce
        verifier = secrets.token_urlsafe(48) if pkce else None
        challenge = str(create_s256_code_challenge(verifier)) if verifier else None  # type: ignore[no-untyped-call]
        redirect_uri, state = f"https://hub.example/join/{self.vendor.name}/auth-granted", secrets.token_urlsafe(24)
        if self.vendor.oauth2 is not None and self.vendor.oauth2.state_in == "redirect_uri":
            redirect_uri += f"?{self.vendor.oauth2.state_returned_as[0]}={state}"
        request = AuthorizeRequest(state=state, redirect_uri=redirect_uri, code_challenge=challenge)
        return request, verifier

    async def callback(self, **choice: str) -> Callback:
        """Returns what the scenario owner brings back; `choice` replaces what it would pick."""
        if self.flow is Flow.OPERATOR:
            return Callback(values=Secrets({}))
        if self.flow is Flow.FORM:
            entered = {**self.simulator.owner_form, **choice}
            return Callback(values=_answers(self.vendor.consent_fields, entered))
        request, verifier = self.authorize_request()
        url = await self.registry.build_authorize_url(self.vendor.name, self.context(), request)
        values = await self._consents(url, request.redirect_uri, {**self.simulator.owner_choice, **choice})
        carriers = self.vendor.oauth2.state_returned_as if self.vendor.oauth2 else ("state",)
        if not any(values.get(name) == request.state for name in carriers):
            raise Failed(f"the state did not come back in {' or '.join(carriers)}")
        kept = {name: value for name, value in values.items() if name not in carriers}
        return Callback(values=Secrets(kept), redirect_uri=request.redirect_uri, code_verifier=verifier)

    async def consent(self, callback: Callback | None = None) -> Consent:
        """A usable grant; one that waits for approval is asked about until the simulator approves."""
        callback = callback or await self.callback()
        for _ in range(FORMS_MOST):
            try:
                consent = await self.registry.handle_callback(self.vendor.name, self.context(), callback)
            except ConsentContinues as asked:
                answers = _answers(asked.fields, {**self.simulator.owner_form, **self.simulator.owner_choice})
                callback = Callback(values=answers, redirect_uri=callback.redirect_uri, carried=asked.carry)
                continue
            return replace(consent, grant=await self.approved(consent.grant))
        raise Failed(f"the owner is asked more than {FORMS_MOST} times")

    async def granted(self, owner: str = "") -> Grant:
        """Returns the grant of the scenario owner of that name (`Simulator.owners`), or of the default one."""
        answers = self.simulator.owners[owner].answers if owner else {}
        return (await self.consent(await self.callback(**answers))).grant

    async def site(self, grant: Grant, site_id: str) -> Site:
        """Returns the site as core hands it on: a zone the vendor tells nobody is the one of its coordinates."""
        site = await self.registry.fetch_site(self.vendor.name, self.context(), grant, site_id)
        if site.timezone is not None:
            return site
        truth = self.simulator.home.get(site_id)
        entered = truth.home.timezone if truth is not None and not truth.tells_zone else None  # by the operator
        return structs.replace(site, timezone=zone_at(site.lat, site.lon) or entered)

    @property
    def widest(self) -> str:
        """The name of the scenario owner with the most sites; "" for the default one."""
        owners = {"": 0, **{name: len(owner.site_ids) for name, owner in self.simulator.owners.items()}}
        return max(owners, key=lambda name: owners[name])

    async def approved(self, grant: Grant) -> Grant:
        for _ in range(APPROVALS_MOST):
            if grant.state is GrantState.ACTIVE:
                return grant
            self.clock.freeze(self.clock.time() + APPROVAL_STEP_S)
            grant = await self.registry.refresh(self.vendor.name, self.context(), grant)
        raise Failed(f"still pending after {APPROVALS_MOST} questions: the simulator must approve its default owner")

    def truth(self, site_id: str) -> TrueSite:
        """Returns what the site really did. Raises Failed where the simulator does not say."""
        found = self.simulator.home.get(site_id)
        if found is None:
            raise Failed(f"Simulator.home does not say what site {site_id} really did; give it (write-a-vendor.md, 5)")
        return found

    async def fault(self, fault: str, **settings: Any) -> None:
        """Sets the simulator's fault dial (joinder.simulate.faults)."""
        async with _browser() as browser:
            answer = await browser.post(f"{self.origin}/_faults", json={"fault": fault, **settings})
            if answer.status_code != 200:
                raise Failed(f"the fault dial answered {answer.status_code}")

    async def heal(self) -> None:
        async with _browser() as browser:
            await browser.delete(f"{self.origin}/_faults")

    async def state(self) -> dict[str, Any]:
        """The simulator's own counts (GET /_state); empty where it keeps none."""
        async with _browser() as browser:
            answer = await browser.get(f"{self.origin}/_state")
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    async def _consents(self, url: str, redirect_uri: str, choice: Mapping[str, str]) -> dict[str, str]:
        async with _browser() as browser:
            answer = await browser.get(self._stand_in(url))
            page = Page(answer.text)
            if answer.status_code != 200 or page.action is None:
                raise Failed(f"the simulator's consent page answered {answer.status_code} {page.heading}")
            answer = await browser.post(self._stand_in(urljoin(url, page.action)), data={**page.values, **choice})
        target = answer.headers.get("location", "")
        if not target.startswith(redirect_uri):
            raise Failed(f"consent ended with {answer.status_code}, not with a redirect to the redirect URI")
        return dict(parse_qsl(urlsplit(target).query))

    def _stand_in(self, url: str) -> str:
        parts = urlsplit(url)
        oauth2 = self.vendor.oauth2  # a page that reads its fragment is a script's; the stand-in is told in its query
        query = parts.fragment.partition("?")[2] if oauth2 is not None and oauth2.fragment else parts.query
        return f"{self.origin}{parts.path}?{query}"


def _answers(fields: Iterable[Field], entered: Mapping[str, str]) -> Secrets:
    """Returns what an owner types into these fields."""
    return Secrets({entry.name: entered[entry.name] for entry in fields if entry.name in entered})


class _Refusing(Unobserved):
    """Hears what core's gate does not take of the plugin's answers."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter()

    def refused(self, vendor: str, rule: str, count: int) -> None:
        self.rules[rule] += count

    def expect_none(self) -> None:
        """Raises Failed."""
        if self.rules:
            told = "; ".join(f"{SENTENCES[Rule(rule)]} ({rule}, {count} times)" for rule, count in self.rules.items())
            raise Failed(f"core does not take all that the plugin answers: {told}")


@asynccontextmanager
async def standing(subject: Subject, *, at: datetime = NOON) -> AsyncIterator[Stand]:
    """The plugin against its running simulator, whose clock stands still at `at`.

    Raises Failed when the block ends well, but core's gate refused a part of what the plugin answered in it; and when
    it ends badly after the simulator itself broke, whose error is then the cause.
    """
    broken: list[Exception] = []
    registry, simulator = subject.registry(), subject.simulator()
    registry.observer = refusing = _Refusing()
    simulator.clock.freeze(at.timestamp())
    async with running([simulator], hear=broken.append) as origins:
        networks = networks_of([simulator])
        reroute = reroute_of([simulator], origins)
        factory = HttpFactory(allowed_networks=networks, reroute=reroute)
        stand = Stand(
            vendor=registry.vendor(subject.name),
            registry=registry,
            factory=factory,
            clock=simulator.clock,
            simulator=simulator,
            origin=origins[simulator.vendor],
        )
        with listening(stand.told):
            try:
                yield stand
                refusing.expect_none()
            except Exception as error:
                if broken and not isinstance(error, DoesNotApply):
                    raise Failed(
                        f"the simulator broke ({type(broken[0]).__name__}), and then: {told(error)}"
                    ) from broken[0]
                raise
            finally:
                await factory.close()


def _browser() -> httpx.AsyncClient:
    """The owner's and the tester's, not the plugin's. Simulated devices sign their own certificates."""
    return httpx.AsyncClient(verify=False, trust_env=False, timeout=30)  # noqa: S501 - loopback
