"""The owner's form: from an address and a token to a proven gateway.

A stranger types the address, so this must not become a way to look around in the operator's network: the token's
serial number is proven by /info before the token is sent, and until then every failure has one text and one duration.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from joinder import Callback, Consent, Context, Grant, Secrets
from joinder.errors import AuthorizationLost, ConsentInvalid, DeviceUnreachable, VendorError
from joinder_iq_gateway import payloads
from joinder_iq_gateway.api import METERS, PRODUCTION, Gateway
from joinder_iq_gateway.info import TOO_OLD, Info, identify
from joinder_iq_gateway.token import Claims, TokenRefused, check_token, tidy

if TYPE_CHECKING:
    from joinder.http import DeviceHttp

PROOF_S = 6.0  # of the proof, and of its failure; /info takes 0.3 s at most, the handshake of an old box 1 s
NOT_THERE = "No IQ Gateway with this token's serial number answered there"


async def join_gateway(ctx: Context, callback: Callback) -> Consent:
    """Proves the gateway and its token, and returns the owner's consent.

    Raises ConsentInvalid with a sentence at the field to correct, others as they come once the box is proven.
    """
    host, token = callback.values.get("host", "").strip(), tidy(callback.values.get("token", ""))
    claims = _checked(token, ctx.now())
    try:
        box = ctx.device(host)
    except DeviceUnreachable as error:  # of what was typed, before any packet: it tells nothing of the network
        raise ConsentInvalid(str(error), fields={"host": str(error)}) from None
    async with box:
        info = await _proven(ctx, box, claims.serial)
        if info.too_old:
            raise ConsentInvalid(TOO_OLD, fields={"host": TOO_OLD})
        await _probe(box, token, claims, ctx.now())
        facts = {
            "address": box.address or box.origin.removeprefix("https://"),
            "cert_sha256": box.peer_sha256 or "",
            "serial": info.serial,
            "firmware": info.firmware,
            "name": callback.values.get("name", "").strip(),
        }
    site_ids = (f"iqgw:{info.serial}",)
    grant = Grant(secrets=Secrets({"token": token}), facts=facts, expires_at=claims.expires_at, site_ids=site_ids)
    return Consent(grant=grant, account_id=info.serial)


def _checked(token: str, now: datetime) -> Claims:
    try:
        return check_token(token, now)
    except TokenRefused as reason:
        raise ConsentInvalid(str(reason), fields={"token": str(reason)}) from None


async def _proven(ctx: Context, box: DeviceHttp, serial: str) -> Info:
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(PROOF_S):
            info = await identify(box)
    except (VendorError, TimeoutError) as error:
        raise await _not_there(ctx, str(error), started) from None
    if info.serial != serial:
        raise await _not_there(ctx, "it has another serial number", started)
    return info


async def _not_there(ctx: Context, reason: str, started: float) -> ConsentInvalid:
    """Tells the operator's log the reason, and waits; to the asker all reasons look and last the same."""
    ctx.log.info("no gateway proven: %s", reason or "no answer in time")
    await asyncio.sleep(max(0.0, started + PROOF_S - asyncio.get_running_loop().time()))
    return ConsentInvalid(NOT_THERE, fields={"host": NOT_THERE})


async def _probe(box: DeviceHttp, token: str, claims: Claims, now: datetime) -> None:
    """Proves that the token opens measurements, which not every valid one does. Raises ConsentInvalid otherwise."""
    gateway = Gateway(box, token, expires_at=claims.expires_at, now=now)
    try:
        await gateway.open_session()
        if await gateway.read(METERS, list[payloads.Meter]) is not None:
            return
        if await gateway.read(PRODUCTION, payloads.Production) is not None:
            return
    except AuthorizationLost:
        refused = "The gateway does not accept this token; make a new one and check the gateway's date and time"
        raise ConsentInvalid(refused, fields={"token": refused}) from None
    if gateway.failed:
        raise next(iter(gateway.failed.values()))
    closed = "The gateway shows this token no measurements; make one with the owner's Enphase account"
    raise ConsentInvalid(closed, fields={"token": closed})
