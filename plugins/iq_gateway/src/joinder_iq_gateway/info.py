"""/info: who a gateway says it is. Read before its serial number is proven, so nothing in it is trusted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from msgspec import Struct

from joinder.errors import UnexpectedPayload
from joinder.http import Answer, raise_for_status

if TYPE_CHECKING:
    from joinder.http import DeviceHttp

MAX_INFO_BYTES = 64 * 1024  # recorded ones have 825 to 2,431
TOO_OLD = "This gateway's firmware is too old for token access: Enphase must update it to version 7 or newer"


class Info(Struct, frozen=True, kw_only=True):
    serial: str
    firmware: str  # without its leading letter: 8.2.4345
    part_number: str | None
    web_tokens: bool

    @property
    def too_old(self) -> bool:
        """Tells whether this is firmware below 7, which knows no tokens.

        The tag came with tokens; the version is for boxes that drop the tag.
        """
        return not self.web_tokens and version(self.firmware) < (7,)


async def identify(box: DeviceHttp) -> Info:
    """Sends GET /info without a token. Raises UnexpectedPayload when no gateway answers there."""
    answer = await box.request("GET", f"{box.origin}/info", headers={"accept-encoding": "identity"}, deadline=10.0)
    raise_for_status(answer)
    return parse_info(answer)


def parse_info(answer: Answer) -> Info:
    """Parses the answer of /info. Raises UnexpectedPayload when it is not a gateway's."""
    root = _parse_xml(answer)
    serial = (root.findtext("device/sn") or "").strip()
    software = (root.findtext("device/software") or "").strip()
    if root.tag != "envoy_info" or not serial or not software:
        raise UnexpectedPayload(f"{answer.place} answered XML that is not a gateway's")
    return Info(
        serial=serial,
        firmware=software[1:] if software[:1].isalpha() else software,
        part_number=root.findtext("device/pn"),
        web_tokens=(root.findtext("web-tokens") or "").strip() == "true",
    )


def version(firmware: str) -> tuple[int, ...]:
    """Parses `8.2.4345` into (8, 2, 4345); what is no number counts as 0."""
    return tuple(int(part) for part in re.findall(r"\d+", firmware)[:4]) or (0,)


def _parse_xml(answer: Answer) -> ElementTree.Element:
    """Parses the XML, decoded first, so that no declared encoding can hide a DOCTYPE from the search for it."""
    try:
        text = answer.content.decode() if len(answer.content) <= MAX_INFO_BYTES else ""
        if "<!DOCTYPE" not in text and "<!ENTITY" not in text:
            return ElementTree.fromstring(text)  # noqa: S314 - short and without entities
    except (ElementTree.ParseError, ValueError):
        pass
    raise UnexpectedPayload(f"{answer.place} answered something else than a gateway's short XML")
