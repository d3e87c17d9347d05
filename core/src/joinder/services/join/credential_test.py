"""Whether a vendor knows stored app credentials, found out without an owner."""

from __future__ import annotations

from joinder.errors import AppCredentialsRejected, AuthorizationLost, ConsentDenied, ConsentInvalid
from joinder.grants import Callback
from joinder.ids import new_token
from joinder.plurals import counted
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.grants import apps, judging
from joinder.services.join import enrollments
from joinder.services.join.consents import callback_url
from joinder.services.refusals import Unprocessable
from joinder.store.tables import VendorCredentials
from joinder.vendor import Flow


async def test(hub: Hub, account_id: str, credentials_id: str, actor: str) -> str:
    """Tests the credentials by one call at the vendor, and answers a sentence. Stores nothing but the audit entry.

    A code that nobody was given is refused by a vendor that knows the app (`invalid_grant`, RFC 6749 §5.2), and the app
    by one that does not (`invalid_client`): AppCredentialsRejected. Raises NotFound, Unprocessable where no call can
    tell, or the vendor's error.
    """
    async with hub.store.write(account_id) as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        await hub.vault.unlock(session, account_id)
        audit(session, account_id, actor, "credentials.test", credentials_id)
    vendor, app = hub.registry.vendor(row.vendor), open_app(hub, row)
    kind = vendor.app_credential(row.type)
    flow = kind.flow if kind is not None else vendor.flow
    if app is not None and flow is Flow.OPERATOR:
        consent = await enrollments.operator_consent(hub, row.vendor, app, credentials_id=row.id)
        for door in apps.KIND:
            await apps.accepted(hub, row.id, row.version, door)
        return f"{vendor.label} accepts these credentials; they open {counted(len(consent.grant.site_ids), 'site')}."
    if vendor.oauth2 is None or flow is not Flow.REDIRECT:
        raise Unprocessable(f"{vendor.label} tells nothing of these credentials before an owner joins.")
    made_up = Callback(
        values=Secrets({"code": new_token()}),
        redirect_uri=callback_url(hub, vendor.name),
        code_verifier=new_token() if vendor.oauth2.pkce else None,
    )
    try:
        await hub.registry.handle_callback(row.vendor, vendor_context(hub, row.vendor, app, budget=row.id), made_up)
    except (AuthorizationLost, ConsentDenied, ConsentInvalid):
        await apps.accepted(hub, row.id, row.version, "token")
        return f"{vendor.label} accepts these credentials."
    except AppCredentialsRejected as error:
        await judging.join_failed(hub, row.id, row.version, error)
        raise
    raise Unprocessable(f"{vendor.label} took a made-up authorization code, which tells nothing of the credentials.")
