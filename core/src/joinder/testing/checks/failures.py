"""Failures every vendor has, played by the simulator's fault dial: each must become the class that tells who acts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from joinder.energy import Readings
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    DeviceIdentityChanged,
    OutcomeUnknown,
    PluginBug,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.http import HttpFactory
from joinder.simulate.run import networks_of, reroute_of, running
from joinder.testing.checks import check
from joinder.testing.flow import Ask, asking
from joinder.testing.subject import HURRY_S, DoesNotApply, Failed, Subject
from joinder.vendor import Vendor

NONSENSE = ("{}", "[]", "null", '"text"', "1", '{"a": [{"b": null}]}', "NaN", "[[]]")
CLOSED_PORT = "https://127.0.0.1:9"  # discard: nothing listens


def _by_oauth(vendor: Vendor) -> bool:
    """for OAuth grants that are refreshed"""
    return vendor.is_renewable and vendor.oauth2 is not None


def _by_cloud(vendor: Vendor) -> bool:
    """for vendors that are reached in a cloud"""
    return not vendor.device_access


@check(_by_cloud)
async def rate_limit_is_obeyed(subject: Subject) -> None:
    """429 becomes RateLimited with the Retry-After it carries, in seconds or as a date."""
    now = datetime.now(UTC)
    for value, low, high in (("7", 7, 7), (format_datetime(now + timedelta(seconds=60), usegmt=True), 30, 61)):
        async with asking(subject, at=now) as (stand, hooks):
            await stand.fault("answer", status=429, body="{}", headers={"retry-after": value})
            for name, call in hooks.items():
                error = await _raised(name, call, RateLimited)
                waits = (
                    error.retry_after.total_seconds() if isinstance(error, RateLimited) and error.retry_after else -1
                )
                if not low <= waits <= high:
                    raise Failed(f"{name}: Retry-After {value} became {waits:.0f} s")


@check()
async def server_errors_are_transient(subject: Subject) -> None:
    """500, 502, 503 and 504, with JSON or HTML, become TransientError: nobody is asked to consent again."""
    async with asking(subject) as (stand, hooks):
        for status, body in ((500, "{}"), (502, "<html>Bad gateway</html>"), (503, ""), (504, '{"error": "timeout"}')):
            await stand.heal()
            await stand.fault("answer", status=status, body=body)
            for name, call in hooks.items():
                await _raised(f"{name} under {status}", call, TransientError)


@check()
async def silence_is_transient(subject: Subject) -> None:
    """A vendor that takes the call and never answers becomes TransientError within the call's deadline."""
    async with asking(subject) as (stand, hooks):
        stand.hurry_s = HURRY_S
        await stand.fault("slow", seconds=30)
        for name, call in hooks.items():
            await _raised(name, call, TransientError)


@check()
async def unreachable_is_transient(subject: Subject) -> None:
    """A refused connection becomes TransientError."""
    async with asking(subject) as (stand, hooks):
        await stand.factory.close()
        closed = dict.fromkeys(stand.factory.reroute, CLOSED_PORT if stand.simulator.tls else "http://127.0.0.1:9")
        networks = networks_of([stand.simulator])
        stand.factory = HttpFactory(allowed_networks=networks, reroute=closed)
        for name, call in hooks.items():
            await _raised(name, call, TransientError)


def _is_a_device(vendor: Vendor) -> bool:
    """for vendors that are devices in the owner's network"""
    return vendor.device_access is not None


@check(_is_a_device)
async def another_device_is_nobody(subject: Subject) -> None:
    """Another device at the owner's address, as routers hand them on, is passing trouble: nothing of it is told."""
    async with asking(subject) as (stand, hooks):
        if stand.simulator.impostor is None:
            raise DoesNotApply("the simulator knows no other device of this maker (Simulator.impostor)")
        other = stand.simulator.impostor()
        other.clock.freeze(stand.clock.time())
        async with running([other]) as origins:
            await stand.factory.close()
            stand.factory = HttpFactory(allowed_networks=networks_of([other]), reroute=reroute_of([other], origins))
            for name, call in hooks.items():
                await _raised(f"{name} of another device", call, DeviceIdentityChanged, TransientError)


@check()
async def html_is_no_answer(subject: Subject) -> None:
    """A maintenance page with status 200 becomes UnexpectedPayload or TransientError."""
    async with asking(subject) as (stand, hooks):
        await stand.fault("html")
        for name, call in hooks.items():
            await _raised(name, call, UnexpectedPayload, TransientError)


@check()
async def cut_answers_are_no_answers(subject: Subject) -> None:
    """A body that stops half way becomes UnexpectedPayload or TransientError; cut JSON that came whole, likewise."""
    async with asking(subject) as (stand, hooks):
        faults: tuple[dict[str, Any], ...] = (
            {"fault": "cut"},
            {"fault": "answer", "status": 200, "body": '{"data": [{"value": 1'},
        )
        for fault in faults:
            await stand.heal()
            await stand.fault(**fault)
            for name, call in hooks.items():
                await _raised(name, call, UnexpectedPayload, TransientError)


@check()
async def nonsense_is_no_answer(subject: Subject) -> None:
    """JSON of other shapes than documented never becomes a bug, a site, or a number."""
    async with asking(subject) as (stand, hooks):
        for body in NONSENSE:
            await stand.heal()
            await stand.fault("answer", status=200, body=body, headers={"content-type": "application/json"})
            for name, call in hooks.items():
                try:
                    answer = await call()
                except PluginBug as error:
                    raise Failed(f"{name} on {body}: {error} ({error.detail})") from None
                except VendorError as error:
                    _expect_nobody_acts(name, body, error)
                    continue
                if not isinstance(answer, Readings) or answer.intervals or answer.counters or answer.live:
                    raise Failed(f"{name} made an answer out of {body}")


def _expect_nobody_acts(name: str, body: str, error: VendorError) -> None:
    """Raises Failed where a body that says nothing ends a consent or an app."""
    if isinstance(error, AuthorizationLost | AppCredentialsRejected):
        raise Failed(f"{name} on {body}: {type(error).__name__}, which nothing proves; let UnexpectedPayload through")


def _shows_a_secret(vendor: Vendor) -> bool:
    """for vendors that are shown a secret"""
    return bool(vendor.oauth2 or vendor.app_credentials or any(entry.secret for entry in vendor.consent_fields))


@check(_shows_a_secret)
async def refused_token_is_not_passing_trouble(subject: Subject) -> None:
    """401 on every read becomes AuthorizationLost or AppCredentialsRejected, so that somebody hears of it."""
    async with asking(subject) as (stand, hooks):
        hooks.pop("refresh", None)
        await stand.fault("answer", status=401, body="")
        for name, call in hooks.items():
            await _raised(name, call, AuthorizationLost, AppCredentialsRejected)


@check()
async def own_refusals_are_understood(subject: Subject) -> None:
    """What the vendor says in words of its own (`Simulator.refusals`) becomes the class that tells who acts."""
    async with asking(subject) as (stand, hooks):
        if not stand.simulator.refusals:
            raise DoesNotApply("the simulator knows no refusal in the vendor's own words (Simulator.refusals)")
        hooks.pop("refresh", None)
        for refusal in stand.simulator.refusals:
            await stand.heal()
            kind = {"content-type": "application/json"}
            await stand.fault("answer", status=refusal.status, body=refusal.body, headers=kind)
            for name, call in hooks.items():
                await _raised(f"{name} on {refusal.status} {refusal.body[:60]}", call, refusal.means)


@check(_by_oauth)
async def invalid_grant_is_the_owners(subject: Subject) -> None:
    """`invalid_grant` on a refresh becomes AuthorizationLost."""
    await _token_error(subject, 400, "invalid_grant", AuthorizationLost)


@check(_by_oauth)
async def invalid_client_is_the_operators(subject: Subject) -> None:
    """`invalid_client` on a refresh becomes AppCredentialsRejected: one alarm, not one for each grant."""
    await _token_error(subject, 401, "invalid_client", AppCredentialsRejected)


@check(_by_oauth)
async def lost_refresh_is_unknown(subject: Subject) -> None:
    """A refresh cut off after it was sent becomes OutcomeUnknown: the vendor may have used up the token."""
    async with asking(subject) as (stand, hooks):
        await stand.fault("lost")
        await _raised("refresh", hooks["refresh"], OutcomeUnknown)


@check()
async def cancellation_is_let_through(subject: Subject) -> None:
    """A hook that is cancelled while it waits ends at once, as cancelled."""
    async with asking(subject) as (stand, hooks):
        await stand.fault("slow", seconds=30)
        for name, call in hooks.items():
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            if not task.cancelled():
                raise Failed(f"{name} swallowed its cancellation")


async def _raised(name: str, call: Ask, *expected: type[VendorError]) -> VendorError:
    wanted = " or ".join(kind.__name__ for kind in expected)
    try:
        await call()
    except VendorError as error:
        if isinstance(error, expected):
            return error
        detail = f" ({error.detail})" if error.detail else ""
        raise Failed(f"{name}: {type(error).__name__} instead of {wanted}: {error}{detail}") from None
    raise Failed(f"{name}: an answer instead of {wanted}")


async def _token_error(subject: Subject, status: int, code: str, expected: type[VendorError]) -> None:
    async with asking(subject) as (stand, hooks):
        body = f'{{"error": "{code}", "error_description": "told by the dial"}}'
        await stand.fault("answer", status=status, body=body, headers={"content-type": "application/json"})
        await _raised("refresh", hooks["refresh"], expected)
