"""Writes a plugin's cassette by driving one whole flow: against its simulator, or by hand against the vendor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from joinder.grants import Callback
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.run import networks_of
from joinder.testing.cassettes import NAME, Needs, missing_call, needs, playing, recording
from joinder.testing.flow import Seen, whole_flow
from joinder.testing.scrub import Scrubber
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.vendor import Flow


async def record_simulated(subject: Subject, folder: Path) -> Path:
    """One flow of the simulator's default owner, at a fixed simulated time: the same cassette every time."""
    async with standing(subject) as stand:
        callback = await stand.callback()
        source = f"the simulator {subject.name} (simulated time {stand.clock.now():%Y-%m-%dT%H:%MZ}), not the vendor"
        return await _record(stand, callback, folder / NAME, source)


async def record_live(stand: Stand, callback: Callback, folder: Path) -> Path:
    """One flow of a real owner. The caller has shown the consent URL and brought back the callback."""
    source = f"the vendor on {stand.clock.now():%Y-%m-%d}"
    return await _record(stand, callback, folder / NAME, source)


async def _record(stand: Stand, callback: Callback, path: Path, source: str) -> Path:
    app = stand.app()
    kind = stand.credential_type()
    secret_fields = [entry.name for entry in kind.fields if entry.secret] if kind else []
    scrubber = Scrubber({name: app.secrets.get(name, "") for name in secret_fields} if app else {})
    told = {name: value for name, value in callback.values.items() if name not in _secret_names(stand)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with recording(path, source=source, needs=Needs(at=stand.clock.now(), callback=told), scrubber=scrubber):
        await whole_flow(stand, callback)
    return path


async def replay(subject: Subject) -> tuple[Seen, Stand]:
    """The recorded flow again, with nothing listening. Raises Failed when a call is missing or was not made."""
    path = cassette_of(subject)
    wanted = needs(path)
    async with _alone(subject, wanted) as stand:
        with playing(path) as cassette:
            seen = await _flow_of(path, stand, _replayed_callback(stand, wanted.callback))
            if not cassette.all_played:
                raise Failed(f"{len(cassette) - cassette.play_count} of {len(cassette)} recorded calls were not made")
    return seen, stand


async def _flow_of(path: Path, stand: Stand, callback: Callback) -> Seen:
    """Raises MissingCall in place of the player's own words, which fill a page."""
    try:
        return await whole_flow(stand, callback)
    except Exception as error:
        missing = missing_call(error, path)
        if missing is None:
            raise
    raise missing


def cassette_of(subject: Subject) -> Path:
    path = subject.cassettes / NAME if subject.cassettes else None
    if path is None or not path.is_file():
        place = subject.cassettes or "the plugin's package, nor in tests/cassettes"
        raise Failed(f"no cassette {NAME} in {place}; write one with `joinder record {subject.name}`")
    return path


@asynccontextmanager
async def _alone(subject: Subject, wanted: Needs) -> AsyncIterator[Stand]:
    """The plugin without any simulator running, at the recorded time."""
    registry, simulator, clock = subject.registry(), subject.simulator(), SimulatedClock()
    clock.freeze(wanted.at.timestamp())
    networks = networks_of([simulator])
    factory = HttpFactory(allowed_networks=networks)
    vendor = registry.vendor(subject.name)
    try:
        yield Stand(vendor=vendor, registry=registry, factory=factory, clock=clock, simulator=simulator)
    finally:
        await factory.close()


@asynccontextmanager
async def at_the_vendor(subject: Subject, app: Mapping[str, str] | None) -> AsyncIterator[Stand]:
    """The plugin with a real app credential and the real clock. Calls leave this machine."""
    registry, clock, factory = subject.registry(), SimulatedClock(), HttpFactory()
    vendor = registry.vendor(subject.name)
    simulator = replace(subject.simulator(), app_credentials=app, owner_form={}, owner_choice={})
    try:
        yield Stand(vendor=vendor, registry=registry, factory=factory, clock=clock, simulator=simulator)
    finally:
        await factory.close()


def _replayed_callback(stand: Stand, told: Mapping[str, str]) -> Callback:
    """Returns what the owner brought back; secrets, which no cassette holds, are the simulator's or made up."""
    made_up = dict.fromkeys(_secret_names(stand), "replayed-0")
    values = {**(made_up if stand.flow is Flow.REDIRECT else stand.simulator.owner_form), **told}
    verifier = "replayed-verifier" if stand.vendor.oauth2 and stand.vendor.oauth2.pkce else None
    redirect_uri = stand.authorize_request()[0].redirect_uri if stand.flow is Flow.REDIRECT else None
    return Callback(values=Secrets(values), redirect_uri=redirect_uri, code_verifier=verifier)


def _secret_names(stand: Stand) -> list[str]:
    if stand.flow is Flow.REDIRECT:
        return ["code"]
    return [entry.name for entry in stand.vendor.consent_fields if entry.secret]


def callback_from(url: str, stand: Stand) -> Callback:
    """The callback in the address a browser was sent back to."""
    carriers = stand.vendor.oauth2.state_returned_as if stand.vendor.oauth2 else ("state",)
    parts = urlsplit(url)
    told = parse_qsl(parts.query)
    values = {name: value for name, value in told if name not in carriers}
    redirect_uri = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if stand.vendor.oauth2 is not None and stand.vendor.oauth2.state_in == "redirect_uri":
        redirect_uri += f"?{urlencode([pair for pair in told if pair[0] in carriers][:1])}"  # as core made it
    return Callback(values=Secrets(values), redirect_uri=redirect_uri)
