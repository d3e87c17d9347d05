"""The consent URL of a REDIRECT vendor."""

from __future__ import annotations

from urllib.parse import unquote_plus

from joinder.testing.checks import check
from joinder.testing.subject import Failed, Stand, Subject, standing
from joinder.vendor import Flow, Vendor
from joinder.vendors.authorize import expected_parameters, sent_parameters


def _redirects(vendor: Vendor) -> bool:
    """for owners who consent on the vendor's pages"""
    return vendor.flow is Flow.REDIRECT


@check(_redirects)
async def authorize_url_is_intact(subject: Subject) -> None:
    """state, redirect_uri and the PKCE challenge stand in the URL unchanged; core itself refuses anything else."""
    async with standing(subject) as stand:
        request, _ = stand.authorize_request()
        url = await stand.registry.build_authorize_url(stand.vendor.name, stand.context(), request)
    sent, expected = sent_parameters(stand.vendor, url), expected_parameters(stand.vendor, request)
    changed = [name for name, value in expected.items() if sent.get(name) != [value]]
    if changed:
        raise Failed(f"changed in the URL: {', '.join(changed)}")


@check(_redirects)
async def authorize_url_asks_for_scopes(subject: Subject) -> None:
    """The scopes are those declared in Vendor.oauth2, no more and no fewer."""
    async with standing(subject) as stand:
        url = await _url(stand)
    declared = set(stand.vendor.oauth2.scopes) if stand.vendor.oauth2 else None
    asked = set(" ".join(sent_parameters(stand.vendor, url).get("scope", [])).split())
    if declared is not None and asked != declared:
        raise Failed(
            f"asks for {' '.join(sorted(asked)) or 'no scope'}, declares {' '.join(sorted(declared)) or 'none'}"
        )


@check(_redirects)
async def authorize_url_holds_no_secret(subject: Subject) -> None:
    """No secret field of the app credential is in the URL, whole or encoded."""
    async with standing(subject) as stand:
        url = await _url(stand)
    kind, app = stand.credential_type(), stand.app()
    secret = [entry.name for entry in kind.fields if entry.secret] if kind else []
    leaked = [name for name in secret if app and (app.secrets.get(name) or "\0") in unquote_plus(url) + url]
    if leaked:
        raise Failed(f"{', '.join(leaked)} stands in the URL")


@check(_redirects)
async def authorize_url_needs_no_call(subject: Subject) -> None:
    """Building the URL calls nobody: an owner is never kept waiting for a vendor that is away."""
    async with standing(subject) as stand:
        await stand.fault("5xx")
        await _url(stand)


@check(_redirects)
async def denial_is_understood(subject: Subject) -> None:
    """An owner who says no ends in ConsentDenied; the simulator offers one named `denies`."""
    from joinder.errors import ConsentDenied

    async with standing(subject) as stand:
        callback = await stand.callback(owner="denies")
        try:
            await stand.registry.handle_callback(stand.vendor.name, stand.context(), callback)
        except ConsentDenied:
            return
    raise Failed("the owner's no was taken for a consent")


async def _url(stand: Stand) -> str:
    request, _ = stand.authorize_request()
    return await stand.registry.build_authorize_url(stand.vendor.name, stand.context(), request)
