"""Grants that an earlier version of a plugin stored, brought to what this version of it expects."""

from __future__ import annotations

from dataclasses import replace

from joinder.errors import AuthorizationLost, OperatorActionNeeded, PluginBug, VendorError
from joinder.grants import Grant
from joinder.vendor import Migrate, Vendor
from joinder.vendors.gate import checked_grant


def up_to_date(vendor: Vendor, grant: Grant) -> Grant:
    """Returns the grant as the plugin wants it now. Pure: what came out is the caller's to store.

    Raises OperatorActionNeeded for one that a newer plugin stored, AuthorizationLost where the plugin knows no way from
    it, PluginBug where it fails on the way.
    """
    if grant.made_as == vendor.grant_version:
        return grant
    if grant.made_as > vendor.grant_version:
        raise OperatorActionNeeded(
            f"This consent was stored by a newer version of the plugin for {vendor.name}; install that version again"
        )
    if vendor.migrate is None:
        raise AuthorizationLost(
            f"The plugin for {vendor.label} cannot read what an earlier one stored; the owner must consent again"
        )
    return _migrated(vendor, vendor.migrate, grant)


def _migrated(vendor: Vendor, migrate: Migrate, grant: Grant) -> Grant:
    try:
        secrets, facts = migrate(grant.secrets, grant.facts, grant.made_as)
        moved = checked_grant(replace(grant, secrets=secrets, facts=facts), vendor.name, grant)
    except VendorError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin's migration does
        raise PluginBug(
            f"plugin {vendor.name} failed to migrate a grant of version {grant.made_as}", detail=type(error).__name__
        ) from None
    return replace(moved, made_as=vendor.grant_version)
