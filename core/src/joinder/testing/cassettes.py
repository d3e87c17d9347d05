"""Recorded conversations (vcrpy), scrubbed before they are written, and played back with nothing listening.

A cassette begins with two comment lines: where it comes from, and what playing it needs (the time it was recorded at,
and what the owner brought back).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import vcr
from vcr.errors import CannotOverwriteExistingCassetteException
from vcr.persisters.filesystem import FilesystemPersister
from vcr.request import Request

from joinder.testing.scrub import Scrubber, masked
from joinder.testing.subject import Failed

NAME = "flow.yaml"
_PROVENANCE, _NEEDS = "# recorded from ", "# joinder: "


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What playing a cassette needs besides the plugin. `callback` holds no secret."""

    at: datetime
    callback: Mapping[str, str]


class MissingCall(Failed):
    """The plugin made a call the cassette does not hold."""


@contextmanager
def recording(path: Path, *, source: str, needs: Needs, scrubber: Scrubber) -> Iterator[None]:
    """Records every call of the block, and replaces `path` when it ended well. Never under CI."""
    if os.environ.get("CI"):
        raise Failed("cassettes are not recorded under CI")
    beside = path.with_suffix(f".recording{path.suffix}")
    beside.unlink(missing_ok=True)
    try:
        with _vcr(scrubber).use_cassette(str(beside), record_mode="all") as cassette:
            yield
            if not len(cassette):
                raise Failed("nothing was recorded: the plugin made no call")
        about = json.dumps({"at": needs.at.isoformat(), "callback": dict(needs.callback)})
        beside.write_text(f"{_PROVENANCE}{source}\n{_NEEDS}{about}\n{beside.read_text()}")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # half a flow is no cassette; the one before it stays


@contextmanager
def playing(path: Path) -> Iterator[Any]:
    """Plays `path` to every call of the block; a call that is not on it fails (record_mode none)."""
    with _vcr(Scrubber()).use_cassette(str(path), record_mode="none") as cassette:
        yield cassette


def missing_call(error: BaseException | None, path: Path) -> MissingCall | None:
    """Says in a sentence which call of the plugin `path` does not hold; None where the error came of something else."""
    while error is not None and not isinstance(error, CannotOverwriteExistingCassetteException):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    asked, parts = error.failed_request, urlsplit(error.failed_request.uri)
    told = f"{path.name} holds no call {asked.method} {parts.hostname}{parts.path}, or one of another query or body"
    return MissingCall(told).with_traceback(error.__traceback__)


def provenance(path: Path) -> str:
    """Tells where the cassette comes from. Raises Failed when it does not say."""
    first = path.read_text().partition("\n")[0]
    if not first.startswith(_PROVENANCE):
        raise Failed(f"{path.name} does not say in its first line where it was recorded from")
    return first.removeprefix(_PROVENANCE)


def needs(path: Path) -> Needs:
    line = next((line for line in path.read_text().splitlines() if line.startswith(_NEEDS)), None)
    if line is None:
        raise Failed(f"{path.name} does not say what playing it needs")
    about = json.loads(line.removeprefix(_NEEDS))
    return Needs(at=datetime.fromisoformat(about["at"]), callback=about["callback"])


def _vcr(scrubber: Scrubber) -> vcr.VCR:
    logging.getLogger("vcr").setLevel(logging.CRITICAL)  # it logs whole URLs
    machine = vcr.VCR(
        serializer="yaml",
        match_on=("method", "target", "masked_body"),
        before_record_request=lambda request: _scrubbed_request(scrubber, request),
        before_record_response=lambda response: _scrubbed_response(scrubber, response),
        decode_compressed_response=True,
    )
    machine.register_matcher("target", _same_target)
    machine.register_matcher("masked_body", _same_body)
    machine.register_persister(FilesystemPersister)
    return machine


def _scrubbed_request(scrubber: Scrubber, request: Request) -> Request:
    """Also tells the vendor's host again, where the call went to a stand-in (joinder.http keeps it in Host)."""
    parts = urlsplit(request.uri)
    if parts.hostname == "127.0.0.1":
        parts = parts._replace(scheme="https", netloc=request.headers["host"])
    body = request.body or b""
    body = scrubber.body(bytes(body), request.headers.get("content-type", "")) if body else body
    headers = scrubber.headers(dict(request.headers.items()))
    return Request(request.method, scrubber.uri(urlunsplit(parts)), body, headers)


def _scrubbed_response(scrubber: Scrubber, response: dict[str, Any]) -> dict[str, Any]:
    content_type = " ".join(response["headers"].get("content-type", []))
    body = scrubber.body(response["body"]["string"], content_type)
    return {**response, "headers": scrubber.headers(response["headers"]), "body": {"string": body}}


def _same_target(one: Request, other: Request) -> None:
    if masked(one.uri) != masked(other.uri):
        raise AssertionError("another address")


def _same_body(one: Request, other: Request) -> None:
    if masked(_text(one)) != masked(_text(other)):
        raise AssertionError("another body")


def _text(request: Request) -> str:
    body = request.body or b""
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
