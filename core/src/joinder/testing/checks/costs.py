"""What a hook costs: its calls, its waiting, and which token it spends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from msgspec import structs

from joinder.energy import ENERGY_METRICS, Readings, ReadingsQuery
from joinder.errors import VendorError
from joinder.testing.checks import check
from joinder.testing.flow import DAY, Ask, asking, last_day, last_days, quarter_before
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.testing.truth import POWERS, W, near
from joinder.testing.views import View, views
from joinder.testing.watch import Call, waiting
from joinder.testing.windows import LONGEST
from joinder.vendor import Vendor

CONSENT, OF_SITE = 4, 3  # calls: of a consent, and for each site it opens
SITE, OF_DEVICE = 8, 2  # of fetch_site, and for each device
READINGS, OF_DAY = 12, 4  # of fetch_readings, and for each day of quarter hours
LATER = timedelta(minutes=30)


def _by_cloud(vendor: Vendor) -> bool:
    """for vendors that are reached in a cloud, as a device is asked with every read who it is"""
    return not vendor.device_access


def _refreshes(vendor: Vendor) -> bool:
    """for grants that are refreshed"""
    return vendor.is_renewable


@check()
async def calls_stay_few(subject: Subject) -> None:
    """A hook makes a handful of calls by what it is asked, and none twice: they count against the app's plan."""
    async with standing(subject) as stand:
        grant = await stand.granted(stand.widest)
        _expect_few(stand, "handle_callback", CONSENT + OF_SITE * len(grant.site_ids))
        site = await stand.site(grant, grant.site_ids[0])
        _expect_few(stand, "fetch_site", SITE + OF_DEVICE * len(site.devices))
        view = View(stand=stand, owner="", grant=grant, site=site, truth=stand.truth(site.vendor_id))
        end = quarter_before(stand.clock.now())
        await view.fetch(ReadingsQuery(site=site, start=end, end=end, live=True))
        _expect_few(stand, "fetch_readings of live power", READINGS)
        for entry in stand.vendor.limits.history:
            days = entry.window / DAY if entry.resolution == "15mins" else 0
            start = end - min(entry.window, LONGEST[entry.resolution])
            await view.fetch(ReadingsQuery(site=site, start=start, end=end, resolution=entry.resolution))
            _expect_few(stand, f"fetch_readings of {entry.resolution}", READINGS + OF_DAY * int(days))


def _expect_few(stand: Stand, hook: str, most: int) -> None:
    """Also forgets the calls."""
    calls, stand.calls[:] = list(stand.calls), []
    if len(calls) > most:
        raise Failed(
            f"{hook} made {len(calls)} calls, {most} are plenty: ask for whole spans and lists, not one by one"
        )
    _expect_each_once(calls, hook)


def _expect_each_once(calls: list[Call], hook: str) -> None:
    asked = [call.what for call in calls]
    twice = next((call for call in calls if asked.count(call.what) > 1), None)
    if twice is not None:
        raise Failed(
            f"{hook} made the same call {asked.count(twice.what)} times ({twice.place}): ask once; retrying is core's"
        )


@check(_by_cloud)
async def nothing_is_listed_anew(subject: Subject) -> None:
    """fetch_readings asks for nothing that the consent or fetch_site brought: query.site has the site's devices."""
    async with standing(subject) as stand:
        grant = await stand.granted(stand.widest)
        site = await stand.site(grant, grant.site_ids[0])
        view = View(stand=stand, owner=stand.widest, grant=grant, site=site, truth=stand.truth(site.vendor_id))
        brought, stand.calls[:] = list(stand.calls), []
        for query in _rows_only(view):
            await view.fetch(query)
            _expect_nothing_again(stand, brought, f"fetch_readings of {query.resolution}")
        at = stand.clock.now() + LATER  # power has changed: what is told again without a change is a list
        later, query = await view.at(at), ReadingsQuery(site=site, start=at, end=at, live=True)
        await later.fetch(query)  # after which a session that had ended is there again
        stand.calls.clear()
        await later.fetch(query)
        others = grant.site_ids[1:] if len(stand.calls) > 1 else ()  # what is asked alone may be all there is of power
        _expect_nothing_again(stand, brought, "fetch_readings of live power", others)


def _names_any(call: Call, site_ids: Sequence[str]) -> bool:
    return any(site_id.encode() in (call.told or b"") for site_id in site_ids)


def _rows_only(view: View) -> list[ReadingsQuery]:
    """Returns queries of rows without live power, whose answer may stand beside the devices."""
    last, days = last_day(view.stand, view.site), last_days(view.stand, view.site)
    asked = [last] if view.stand.vendor.limits.resolution("15mins") else []
    return [structs.replace(query, live=False) for query in (*asked, *([days] if days else []))]


def _expect_nothing_again(stand: Stand, brought: list[Call], hook: str, others: Sequence[str] = ()) -> None:
    """Also forgets the calls. One that is answered anew each time, as a challenge is, is no list."""
    calls, stand.calls[:] = list(stand.calls), []
    known = {call.what: call.told for call in brought}
    again = next(
        (call for call in calls if call.what in known and (call.told == known[call.what] or _names_any(call, others))),
        None,
    )
    if again is not None:
        raise Failed(
            f"{hook} asks {again.place} once more, which the consent or fetch_site brought; query.site has the devices,"
            " and grant.facts keep what else never changes"
        )


@check()
async def hooks_do_not_wait(subject: Subject) -> None:
    """No hook sleeps, blocks the loop or tries again, when all is well or after 429 and 503: core does that."""
    async with asking(subject) as (stand, asks):
        faults: tuple[dict[str, object], ...] = ({}, {"fault": "429", "retry_after": 2}, {"fault": "5xx"})
        for fault in faults:
            await stand.heal()
            if fault:
                await stand.fault(**fault)  # type: ignore[arg-type]
            for hook, ask in asks.items():
                await _does_not_wait(stand, subject, ask, f"{hook} under {fault['fault']}" if fault else hook)


async def _does_not_wait(stand: Stand, subject: Subject, ask: Ask, hook: str) -> None:
    stand.calls.clear()
    with waiting(subject.entry.module.partition(".")[0]) as seen:
        try:
            await ask()
        except VendorError:
            pass
    if seen:
        raise Failed(f"{hook} waits ({seen[0]}): raise what the vendor answered, core waits and asks again")
    _expect_each_once(stand.calls, hook)


@check(_refreshes)
async def cut_refresh_is_one_call(subject: Subject) -> None:
    """A refresh whose answer is cut off is not sent again: the vendor may have used up the token."""
    async with asking(subject) as (stand, asks):
        for fault in ("lost", "cut", "5xx"):
            await stand.heal()
            await stand.fault(fault)
            stand.calls.clear()
            try:
                await asks["refresh"]()
            except VendorError:
                pass
            if len(stand.calls) > 1:
                raise Failed(f"a refresh answered by {fault} made {len(stand.calls)} calls; one exchange, no retry")


@check(_refreshes)
async def refresh_token_stays_in_refresh(subject: Subject) -> None:
    """Only refresh sends the refresh token, and only refresh and the consent call the token endpoint: core's lease."""
    async with standing(subject) as stand:
        view = await anext(views(stand, ""))
        query, ends = last_day(stand, view.site), view.grant.expires_at or stand.clock.now()
        asks: dict[str, Ask] = {
            "fetch_site": lambda: stand.site(view.grant, view.site.vendor_id),
            "fetch_readings": lambda: view.fetch(query),
        }
        for at in (stand.clock.now(), ends + timedelta(minutes=1)):
            stand.clock.freeze(at.timestamp())
            for hook, ask in asks.items():
                await _spends_nothing(view, hook, ask)


async def _spends_nothing(view: View, hook: str, ask: Ask) -> None:
    stand, token = view.stand, view.grant.secrets.get("refresh_token")
    url = stand.vendor.oauth2.token_url if stand.vendor.oauth2 else None
    stand.calls.clear()
    try:
        await ask()
    except VendorError:
        pass
    spent = [call for call in stand.calls if (token and token in call.sent) or (url and call.url.startswith(url))]
    if spent:
        raise Failed(f"{hook} spends the grant's token at {spent[0].place}; renew in refresh alone")


@check()
async def one_endpoint_down_is_told(subject: Subject) -> None:
    """Where one of several endpoints fails, the rest counts and a warning says what is missing; or the hook raises."""
    async with standing(subject) as stand:
        view = await anext(views(stand, ""))
        query = last_day(stand, view.site)
        stand.calls.clear()
        sound = numbers_of(await view.fetch(query))
        for path in dict.fromkeys(call.path for call in list(stand.calls)):
            await stand.heal()
            await stand.fault("5xx", path=path)
            try:
                answer = await view.fetch(query)
            except VendorError:
                continue
            told = numbers_of(answer)
            lost = sorted(sound.keys() - told.keys())
            if lost and not answer.warnings:
                raise Failed(f"with {path} down {lost[0]} is gone without a word; raise, or say so in warnings")
            other = [name for name in sound.keys() & told.keys() if not near(told[name], sound[name], W)]
            if other:
                raise Failed(
                    f"with {path} down {other[0]} is {told[other[0]]:g}, else {sound[other[0]]:g}; leave it out"
                )


def numbers_of(answer: Readings) -> dict[str, float]:
    """All that is known for certain, by name: of rows that are not partial, of registers, and of live power."""
    rows = [(f"of {row.start:%H:%M}", row, ENERGY_METRICS) for row in answer.intervals if row.quality != "partial"]
    registers = [(f"register of {one.device_id}", one, ENERGY_METRICS) for one in answer.counters]
    live = [("of now", answer.live, POWERS)] if answer.live else []
    return {
        f"{name} {of}": value
        for of, told, names in (*rows, *registers, *live)
        for name in names
        if (value := getattr(told, name)) is not None
    }
