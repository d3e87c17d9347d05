"""The plugin against its own simulator: behaviour, clock changes, and the fault dial."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from joinder.energy import Reading, Readings, ReadingsQuery, Site
from joinder.errors import AuthorizationLost, ConsentInvalid, PluginBug, VendorError
from joinder.grants import Grant, Kept
from joinder.redact import Secrets
from joinder.series import day_span, zone
from joinder.testing.checks import check
from joinder.testing.expectations import (
    expect_consent,
    expect_intervals,
    expect_live,
    expect_promised_kinds,
    expect_refreshed,
    expect_rows,
    expect_site,
)
from joinder.testing.flow import DAY, clock_changes, last_day, last_days
from joinder.testing.subject import NOON, DoesNotApply, Failed, Stand, Subject, standing
from joinder.vendor import Capability, Flow, Refresh, Support, Vendor

FAULTS = ("429", "5xx", "html", "cut", "lost")
LEVELS_AGREE = 0.02


def _keeps_quarters(vendor: Vendor) -> bool:
    """for vendors that keep quarter hours"""
    return vendor.limits.resolution("15mins") is not None


def _keeps_days(vendor: Vendor) -> bool:
    """for vendors that keep days"""
    return vendor.limits.resolution("day") is not None


def _keeps_both(vendor: Vendor) -> bool:
    """for vendors that keep quarter hours and days"""
    return _keeps_quarters(vendor) and _keeps_days(vendor)


def _tells_live(vendor: Vendor) -> bool:
    """for vendors that tell live power"""
    return vendor.support(Capability.LIVE) is Support.YES


def _refreshes(vendor: Vendor) -> bool:
    """for grants that are refreshed"""
    return vendor.is_renewable


def _takes_back(vendor: Vendor) -> bool:
    """for vendors that take tokens back"""
    return vendor.oauth2 is not None and vendor.oauth2.revocation_url is not None


def _redirects(vendor: Vendor) -> bool:
    """for owners who consent on the vendor's pages"""
    return vendor.flow is Flow.REDIRECT


def _rotates(vendor: Vendor) -> bool:
    return vendor.refresh is Refresh.ROTATING


@check()
async def consent_opens_sites(subject: Subject) -> None:
    """The default owner's consent becomes a grant that opens sites; the same owner again has the same account id."""
    async with standing(subject) as stand:
        first, second = await stand.consent(), None
        expect_consent(stand.vendor, first, stand.clock.now())
        if stand.flow is not Flow.OPERATOR:
            second = await stand.consent()
        if second is not None and (second.account_id, second.grant.site_ids) != (
            first.account_id,
            first.grant.site_ids,
        ):
            raise Failed("the same owner's second consent has another account id or other sites")


@check(_redirects)
async def kept_token_stands_for_the_code(subject: Subject) -> None:
    """The token goes to callback.keep before anything else is asked; with it in place of the code the consent is the
    same."""
    kept: list[Kept] = []

    async def keep(given: Kept) -> None:
        kept.append(given)

    async with standing(subject) as stand:
        callback = replace(await stand.callback(), keep=keep)
        first = await stand.registry.handle_callback(stand.vendor.name, stand.context(), callback)
        if not kept:
            raise Failed("nothing went to callback.keep: use oauth.exchange_code, or call it right after the exchange")
        without = Secrets({name: value for name, value in callback.values.items() if name != "code"})
        later = replace(callback, values=without, code_verifier=None, kept=kept[0])
        second = await stand.registry.handle_callback(stand.vendor.name, stand.context(), later)
    if (second.account_id, second.grant.site_ids) != (first.account_id, first.grant.site_ids):
        raise Failed("with the kept token the consent has another account id or other sites")


@check()
async def nonsense_is_no_consent(subject: Subject) -> None:
    """A made-up code or key ends in ConsentInvalid or another VendorError, never in a grant or a bug."""
    async with standing(subject) as stand:
        if stand.flow is Flow.OPERATOR:
            return
        callback = await stand.callback()
        made_up = dict.fromkeys(callback.values, "made-up-value-0")
        callback = replace(callback, values=Secrets(made_up))
        try:
            await stand.registry.handle_callback(stand.vendor.name, stand.context(), callback)
        except PluginBug:
            raise
        except VendorError as error:
            if not isinstance(error, ConsentInvalid | AuthorizationLost) and error.actor == "operator":
                raise Failed(f"a made-up value is the owner's to correct, not {type(error).__name__}") from None
            return
    raise Failed("made-up values were taken for a consent")


@check(_refreshes)
async def refresh_keeps_or_rotates(subject: Subject) -> None:
    """Refresh answers a new access token, and the refresh token as Vendor.refresh says; the grant still reads."""
    async with standing(subject) as stand:
        before = (await stand.consent()).grant
        after = await stand.registry.refresh(stand.vendor.name, stand.context(), before)
        expect_refreshed(stand.vendor, before, after, stand.clock.now())
        if after.secrets.get("access_token") == before.secrets.get("access_token"):
            raise Failed("the access token is the old one")
        await stand.registry.fetch_site(stand.vendor.name, stand.context(), after, after.site_ids[0])


@check(_refreshes)
async def refresh_is_one_exchange(subject: Subject) -> None:
    """One refresh is one call of the token endpoint, and never sends a used token again."""
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        for _ in range(3):
            before = (await stand.state()).get("token_calls", 0)
            grant = await stand.registry.refresh(stand.vendor.name, stand.context(), grant)
            state = await stand.state()
            if state.get("token_calls", 0) != before + 1:
                raise Failed(
                    f"{state.get('token_calls', 0) - before} token calls for one refresh (GET /_state token_calls)"
                )
        if _rotates(stand.vendor) and state.get("reuse_seen", 0):
            raise Failed("a used refresh token was sent again")


@check(_takes_back)
async def ended_consents_are_taken_back(subject: Subject) -> None:
    """OAuth2.revocation_url ends a grant: nothing is read or renewed by it any more; doing it twice is fine."""
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        for _ in range(2):
            await stand.registry.revoke(stand.vendor.name, stand.context(), grant.secrets)
        for call in (
            lambda: stand.registry.refresh(stand.vendor.name, stand.context(), grant),
            lambda: stand.registry.fetch_site(stand.vendor.name, stand.context(), grant, grant.site_ids[0]),
        ):
            try:
                await call()
            except AuthorizationLost:
                continue
            raise Failed("a grant that was taken back still works")


@check()
async def site_is_normalised(subject: Subject) -> None:
    """fetch_site answers the site asked for with its devices, for every site of the grant, of each promised kind."""
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        sites = []
        for site_id in grant.site_ids[:3]:
            sites.append(await stand.registry.fetch_site(stand.vendor.name, stand.context(), grant, site_id))
            expect_site(sites[-1], site_id)
        expect_promised_kinds(stand.vendor, sites)


@check(_keeps_quarters)
async def quarter_hours_are_whole(subject: Subject) -> None:
    """Every quarter hour of a day: inside the window, sorted, aware, unique, finite, with the promised metrics."""
    async with standing(subject) as stand:
        grant, query = await _last_day(stand)
        readings = await _fetch(stand, grant, query)
        count = int((query.end - query.start) / timedelta(minutes=15))
        expect_intervals(stand.vendor, readings, query, count=count)


@check(_keeps_days)
async def days_are_whole(subject: Subject) -> None:
    """Three local days, each with the promised metrics."""
    async with standing(subject) as stand:
        grant, query = await _last_day(stand)
        _zone_of(query.site)
        days = last_days(stand, query.site)
        if days is None:
            raise Failed("Limits.history has days, but nobody can ask for them")
        expect_intervals(stand.vendor, await _fetch(stand, grant, days), days, count=3)


@check(_keeps_both)
async def levels_agree(subject: Subject) -> None:
    """The quarter hours of a day add up to that day's value, within 2 %."""
    async with standing(subject) as stand:
        grant, query = await _last_day(stand)
        where = _zone_of(query.site)
        day = (stand.clock.now() - DAY).astimezone(where).date()
        start, end = day_span(day, where)
        quarters = await _whole_span(stand, grant, ReadingsQuery(site=query.site, start=start, end=end))
        days = await _fetch(stand, grant, ReadingsQuery(site=query.site, start=start, end=end, resolution="day"))
        for metric in ("solar_wh", "import_wh", "export_wh"):
            fine = sum(getattr(row, metric) or 0 for row in quarters)
            coarse = sum(getattr(row, metric) or 0 for row in days.intervals)
            if coarse and fine and abs(fine - coarse) > LEVELS_AGREE * max(fine, coarse):
                raise Failed(f"{metric}: quarter hours add up to {fine:.0f}, the day is {coarse:.0f}")


@check(_keeps_quarters)
async def spring_day_has_92_quarters(subject: Subject) -> None:
    """The day the clock goes forward is read whole: 23 hours, nothing twice, nothing outside."""
    await _clock_change(subject, 23)


@check(_keeps_quarters)
async def autumn_day_has_100_quarters(subject: Subject) -> None:
    """The day the clock goes back is read whole: 25 hours, both passes of the repeated hour."""
    await _clock_change(subject, 25)


@check(_tells_live)
async def live_power_balances(subject: Subject) -> None:
    """Live power is of now, and load = solar + battery + grid within 1 % where all four are known."""
    async with standing(subject) as stand:
        grant, query = await _last_day(stand)
        only_live = ReadingsQuery(site=query.site, start=query.end, end=query.end, live=True)
        readings = await _fetch(stand, grant, only_live)
        if readings.intervals:
            raise Failed("an empty window was asked for, rows came")
        expect_live(stand.vendor, readings.live, stand.clock.now())


@check()
async def faults_make_no_numbers(subject: Subject) -> None:
    """Under every fault of the dial a read fails with a VendorError, or answers only what is also there without it."""
    async with standing(subject) as stand:
        grant, query = await _last_day(stand)
        sound = {row.start: row for row in (await _fetch(stand, grant, query)).intervals}
        for fault in FAULTS:
            await stand.fault(fault)
            try:
                readings = await _fetch(stand, grant, query)
            except PluginBug as error:
                raise Failed(f"under {fault}: {error} ({error.detail})") from None
            except VendorError:
                continue
            finally:
                await stand.heal()
            expect_rows(readings.intervals, query)
            wrong = [row for row in readings.intervals if row != sound.get(row.start)]
            if wrong:
                raise Failed(f"under {fault}: {len(wrong)} rows differ from those without it")


async def _clock_change(subject: Subject, hours: int) -> None:
    async with standing(subject) as stand:
        grant = await stand.granted()
        site = await stand.site(grant, grant.site_ids[0])
    where = _zone_of(site)
    days = [day for day in clock_changes(where, NOON.year) if _hours(day, where) == hours]
    if not days:
        raise Failed(
            f"the clock of {where.key} has no day of {hours} hours; put the simulator's default home where it has one"
        )
    start, end = day_span(days[0], where)
    async with standing(subject, at=end + timedelta(hours=12)) as stand:
        grant = (await stand.consent()).grant
        query = ReadingsQuery(site=site, start=start, end=end)
        rows = await _whole_span(stand, grant, query)
        expect_rows(rows, query)
        if len(rows) != hours * 4:
            raise Failed(f"{len(rows)} quarter hours on {days[0]}, which has {hours * 4}")


def _zone_of(site: Site) -> ZoneInfo:
    """Raises DoesNotApply where the vendor tells none and nobody says where its simulated home lies."""
    where = zone(site.timezone)
    if where is None and site.timezone is not None:
        raise Failed(f"site {site.vendor_id}: time zone {site.timezone} is no IANA name")
    if where is None:
        raise DoesNotApply(
            f"the vendor tells no time zone of site {site.vendor_id}, nor coordinates in one; Simulator.home does not"
            " say TrueSite(tells_zone=False) of it"
        )
    return where


def _hours(day: date, where: ZoneInfo) -> int:
    start, end = day_span(day, where)
    return int((end - start).total_seconds() // 3600)


async def _whole_span(stand: Stand, grant: Grant, query: ReadingsQuery) -> list[Reading]:
    """The span in pieces the vendor's window allows, as core asks."""
    history = stand.vendor.limits.resolution("15mins")
    step = history.window if history else DAY
    rows: list[Reading] = []
    at = query.start
    while at < query.end:
        until = min(at + step, query.end)
        piece = ReadingsQuery(site=query.site, start=at, end=until)
        rows += (await _fetch(stand, grant, piece)).intervals
        at = until
    return rows


async def _last_day(stand: Stand) -> tuple[Grant, ReadingsQuery]:
    grant = await stand.granted()
    return grant, last_day(stand, await stand.site(grant, grant.site_ids[0]))


async def _fetch(stand: Stand, grant: Grant, query: ReadingsQuery) -> Readings:
    return await stand.registry.fetch_readings(stand.vendor.name, stand.context(), grant, query)
