"""Other owners than the default one: many sites, none, somebody else's, and consents that end."""

from __future__ import annotations

from datetime import timedelta

from msgspec import structs

from joinder.energy import ReadingsQuery
from joinder.errors import (
    ApprovalPending,
    ApprovalRefused,
    AuthorizationLost,
    NotSupported,
    PluginBug,
    SiteGone,
    TransientError,
    VendorError,
)
from joinder.grants import Grant
from joinder.testing.checks import check
from joinder.testing.flow import DAY
from joinder.testing.subject import DoesNotApply, Failed, Stand, Subject, standing
from joinder.vendor import Flow, Refresh, Vendor

CLOSED = (NotSupported, SiteGone, AuthorizationLost, ApprovalPending, ApprovalRefused)
MOMENT = timedelta(minutes=1)
LONG = timedelta(days=800)  # longer than any token lives


def _asks_owners(vendor: Vendor) -> bool:
    """for vendors whose owners consent"""
    return vendor.flow is not Flow.OPERATOR


def _refreshes(vendor: Vendor) -> bool:
    """for grants that are refreshed"""
    return vendor.is_renewable


@check()
async def every_site_is_listed(subject: Subject) -> None:
    """A consent names all sites of its owner: every page of them, each once."""
    async with standing(subject) as stand:
        owners = {name: owner for name, owner in stand.simulator.owners.items() if owner.site_ids}
        if not owners:
            raise DoesNotApply("the simulator names no scenario owner with sites (Simulator.owners)")
        for name, owner in owners.items():
            told = (await stand.granted(name)).site_ids
            if set(told) != set(owner.site_ids):
                raise Failed(
                    f"owner {name} has {len(owner.site_ids)} sites, the grant names {len(told)}: read every page of"
                    " the vendor's list, and the vendor's own ids"
                )


@check()
async def owners_are_told_apart(subject: Subject) -> None:
    """Owners of different sites have different account ids, as the same id would renew the other's enrollment."""
    async with standing(subject) as stand:
        owners = [(name, owner) for name, owner in stand.simulator.owners.items() if owner.site_ids]
        told: dict[str, tuple[str, frozenset[str]]] = {}
        for name, owner in owners:
            consent = await stand.consent(await stand.callback(**owner.answers))
            sites = frozenset(owner.site_ids)
            known = told.setdefault(consent.account_id or name, (name, sites))
            if not known[1] & sites:
                raise Failed(
                    f"owners {known[0]} and {name} have different sites and one account id; take the vendor's id of who"
                    " consented, or none"
                )
        if len(owners) < 2:
            raise DoesNotApply("the simulator names no two owners with sites (Simulator.owners)")


@check(_asks_owners)
async def owner_is_known_again(subject: Subject) -> None:
    """A consent has the vendor's id of who gave it: their next one renews the enrollment, and makes no second one."""
    async with standing(subject) as stand:
        if stand.flow is Flow.OPERATOR:
            raise DoesNotApply("no owner consents: the operator's credentials open the sites")
        if not (await stand.consent()).account_id:
            raise Failed(
                "the consent has no account id, so the same owner's next one is another enrollment; give"
                " Consent.account_id, the vendor's own id of who consented"
            )


@check()
async def owner_without_site_is_no_consent(subject: Subject) -> None:
    """An owner `no-sites` ends in an error that tells somebody what to do, not in a grant that opens nothing."""
    async with standing(subject) as stand:
        _scenario(stand, "no-sites")
        try:
            grant = await stand.granted("no-sites")
        except PluginBug as error:
            raise Failed(f"an owner without a site ends in a bug: {error.detail}; raise ConsentInvalid") from None
        except TransientError as error:
            raise Failed(f"an owner without a site is no passing trouble ({type(error).__name__})") from None
        except VendorError:
            return
        raise Failed(f"an owner without a site got a grant of {len(grant.site_ids)} sites; raise ConsentInvalid")


@check()
async def foreign_sites_stay_closed(subject: Subject) -> None:
    """A site the grant does not open, or no more, is NotSupported, SiteGone or AuthorizationLost: never other data."""
    async with standing(subject) as stand:
        grant = await stand.granted()
        foreign = [site_id for site_id in stand.simulator.home if site_id not in grant.site_ids]
        if not foreign:
            raise DoesNotApply("the simulator has no site of anybody else")
        site = structs.replace(await stand.site(grant, grant.site_ids[0]), vendor_id=foreign[0])
        end = stand.clock.now()
        for resolution in [entry.resolution for entry in stand.vendor.limits.history][:1]:
            query = ReadingsQuery(site=site, start=end - DAY, end=end, resolution=resolution)
            await _is_closed(stand, grant, query)
        await _is_closed(stand, grant, foreign[0])


async def _is_closed(stand: Stand, grant: Grant, asked: ReadingsQuery | str) -> None:
    registry, name = stand.registry, stand.vendor.name
    hook = "fetch_site" if isinstance(asked, str) else "fetch_readings"
    try:
        if isinstance(asked, str):
            await registry.fetch_site(name, stand.context(), grant, asked)
        elif not (await registry.fetch_readings(name, stand.context(), grant, asked)).intervals:
            return
    except CLOSED:
        return
    except VendorError as error:
        raise Failed(f"{hook} of a site the grant does not open: {type(error).__name__}; raise NotSupported") from None
    raise Failed(
        f"{hook} of a site the grant does not open answered data; ask the vendor for the site that is asked for"
    )


@check(_refreshes)
async def withdrawn_consent_is_lost(subject: Subject) -> None:
    """The owner `revokes-later` takes the consent back: the next refresh is AuthorizationLost, and so is a read."""
    async with standing(subject) as stand:
        _scenario(stand, "revokes-later")
        grant = await stand.granted("revokes-later")
        for hook in ("refresh", "fetch_site"):
            try:
                await _call(stand, hook, grant)
            except AuthorizationLost:
                continue
            except VendorError as error:
                raise Failed(f"{hook} of a withdrawn consent: {type(error).__name__}, not AuthorizationLost") from None
            raise Failed(f"{hook} of a withdrawn consent answers; raise AuthorizationLost when the vendor refuses")


@check()
async def expired_token_is_lost(subject: Subject) -> None:
    """A read works until Grant.expires_at and is AuthorizationLost after it, without a token call of its own."""
    async with standing(subject) as stand:
        grant = await stand.granted()
        if grant.expires_at is None:
            await _never_ends(stand, grant)
            raise DoesNotApply("the vendor's grants do not expire")
        stand.clock.freeze((grant.expires_at - MOMENT).timestamp())
        await _still_reads(stand, grant)
        stand.clock.freeze((grant.expires_at + MOMENT).timestamp())
        tokens = (await stand.state()).get("token_calls", 0)
        await _is_lost(stand, grant)
        if (await stand.state()).get("token_calls", 0) != tokens:
            raise Failed("fetch_site called the token endpoint; only refresh may: core holds the lease there")


async def _still_reads(stand: Stand, grant: Grant) -> None:
    try:
        await _call(stand, "fetch_site", grant)
    except AuthorizationLost:
        raise Failed(
            "the access token ended before Grant.expires_at; take the vendor's own expiry, in seconds"
        ) from None


async def _is_lost(stand: Stand, grant: Grant) -> None:
    try:
        await _call(stand, "fetch_site", grant)
    except AuthorizationLost:
        return
    except VendorError as error:
        raise Failed(f"an expired access token: {type(error).__name__}; raise AuthorizationLost") from None
    raise Failed(
        "with a token past Grant.expires_at fetch_site still answers; take the vendor's expiry, in seconds, and leave"
        " renewing to core"
    )


async def _never_ends(stand: Stand, grant: Grant) -> None:
    if stand.vendor.refresh is Refresh.STATIC_KEY:
        return
    stand.clock.freeze((stand.clock.now() + LONG).timestamp())
    try:
        await _call(stand, "fetch_site", grant)
    except AuthorizationLost:
        raise Failed("the access token ends, but Grant.expires_at is None; core renews by it, and warns") from None
    except VendorError:
        return


async def _call(stand: Stand, hook: str, grant: Grant) -> None:
    registry, name = stand.registry, stand.vendor.name
    if hook == "refresh":
        await registry.refresh(name, stand.context(), grant)
    else:
        await registry.fetch_site(name, stand.context(), grant, grant.site_ids[0])


def _scenario(stand: Stand, name: str) -> None:
    """Raises DoesNotApply."""
    if name not in stand.simulator.owners:
        raise DoesNotApply(f"the simulator has no owner {name} (Simulator.owners)")
