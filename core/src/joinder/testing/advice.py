"""What an author does about a failed check: one line each, and the place in the plugin's own code."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from joinder.errors import VendorError
from joinder.redact import redact, redact_code
from joinder.testing.checks import Check, Outcome
from joinder.testing.subject import Failed, Subject

FRAMES_MOST = 6
_BY_GROUP = {
    "static": "Look at VENDOR in __init__.py; docs/hooks.md says what each member is for.",
    "authorize": "Leave build_authorize_url out: core makes the URL of VENDOR.oauth2. What is special goes to "
    "oauth.authorize_url as a keyword.",
    "simulated": "Compare the answer with what the simulator told: `joinder check NAME --html pages` draws both.",
    "truth": "Compare with Simulator.home: `joinder check NAME --html pages` draws what you said beside it. Signs, "
    "units, the row's time and the zone are what goes wrong most; longer rows, means and flows as one figure are "
    "members of TrueSite.",
    "owners": "Read every page of the list of sites, and refuse an account without any (ConsentInvalid).",
    "failures": "Raise the class of who must act (joinder.errors): http.Api(refusals=…, judge=…) holds them as data.",
    "costs": "One call for what one call tells; no sleep and no retry in a hook: core waits and repeats.",
    "replayed": "Write the cassette anew: joinder record NAME --simulator",
    "hygiene": "Reach out by ctx alone, keep nothing between calls, let no secret into logs, errors, facts or reprs.",
}
_BY_CHECK = {
    "rate_limit_is_obeyed": "Raise RateLimited(…, retry_after=answer.retry_after(ctx.now())); http.Api does.",
    "silence_is_transient": "Let the deadline of ctx.http end the call: catch no TransientError that you do not tell.",
    "lost_refresh_is_unknown": "Let OutcomeUnknown through: the vendor may have rotated the token.",
    "invalid_grant_is_the_owners": "Use oauth.renewed; the vendor's own words go into OAuth2.invalid_grant_codes.",
    "refresh_keeps_or_rotates": "Use oauth.renewed; OAuth2 and Vendor.refresh must say what the vendor does.",
    "gaps_stay_gaps": "What the vendor does not tell is None, never 0: series.Quarters leaves it out by itself.",
    "spans_begin_anywhere": "Ask for series.outwards(query.start, query.end, row); Quarters(query.start, query.end) "
    "leaves out what is outside.",
    "owner_is_known_again": "Give Consent.account_id. Where the vendor tells nobody's, say why in "
    "Simulator.conformance_skips = {'owner_is_known_again': '…'}.",
    "nothing_is_listed_anew": "Use query.site and its devices, which fetch_site answered; what readings need besides "
    "goes into grant.facts at the consent.",
    "clock_changes_are_true": "Cut days by the site's zone, as series.Days does; a day has 23 or 25 hours then.",
    "expired_token_is_lost": "Give Grant.expires_at (oauth.consented does), and raise AuthorizationLost on 401.",
    "registers_are_true": "Tell lifetime registers as Counter with their own time; core makes intervals of them.",
    "cassette_holds_no_secret": "Record anew: joinder record NAME --simulator; the scrubber knows secrets by name.",
}


def what_to_do(entry: Check, vendor: str) -> str:
    return _BY_CHECK.get(entry.name, _BY_GROUP[entry.group]).replace("NAME", vendor)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A failed check as it is told: whole the first time, with how many others failed of the same; then `as_in` it."""

    place: str = ""
    others: int = 0
    as_in: str = ""


def troubles(outcomes: Iterable[Outcome], subject: Subject) -> dict[str, Trouble]:
    """Returns what to tell of each failed check, by its name."""
    places = {one.check.name: place_of(one.error, subject) if one.error else "" for one in outcomes if one.error}
    same: dict[tuple[str, str], list[str]] = {}
    for one in outcomes:
        if one.state == "failed":
            same.setdefault(_cause(one, places.get(one.check.name, "")), []).append(one.check.name)
    found = {}
    for first, *others in same.values():
        found[first] = Trouble(place=places.get(first, ""), others=len(others))
        found |= {name: Trouble(as_in=first) for name in others}
    return found


def _cause(outcome: Outcome, place: str) -> tuple[str, str]:
    """Returns what outcomes of one mistake share: the line of the author's code that broke, else what was said."""
    root = _chain(outcome.error)[0] if outcome.error else None
    is_broken = place and root is not None and not isinstance(root, Failed | VendorError)
    return ("\n".join(place.splitlines()[-2:]), "") if is_broken else ("", outcome.reason)


def place_of(error: BaseException, subject: Subject) -> str:
    """Returns the author's own frames of a failure and of what caused it, secrets masked; empty without any."""
    folder = _folder(subject)
    if folder is None:
        return ""
    entered = _entered(subject)
    for one in _chain(error):
        lines = _own_frames(one.__traceback__, folder, entered)
        if lines:
            told = traceback.format_exception_only(one)[-1].strip().partition("\n")[0]
            return "\n".join([*lines[-FRAMES_MOST:], redact(_without(entered, told))])
    return ""


def _chain(error: BaseException) -> list[BaseException]:
    """Returns what caused it first: core hides a plugin's error behind its own, as its text may hold anything."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found[::-1]


def _own_frames(trace: TracebackType | None, folder: Path, entered: list[str]) -> list[str]:
    return [
        f"{Path(frame.filename).relative_to(folder.parent)}:{frame.lineno} in {frame.name}: "
        + redact_code(_without(entered, linecache.getline(frame.filename, frame.lineno or 0).strip()))
        for frame in traceback.extract_tb(trace)
        if Path(frame.filename).is_relative_to(folder)
    ]


def _folder(subject: Subject) -> Path | None:
    """Returns where the plugin's package lies, without importing it anew."""
    import importlib.util

    spec = importlib.util.find_spec(subject.entry.value.partition(":")[0].partition(".")[0])
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _entered(subject: Subject) -> list[str]:
    """Returns what the simulator's owner and operator enter: nobody copies it from here."""
    if subject.make_simulator is None:
        return []
    simulator = subject.make_simulator()
    return [*dict(simulator.app_credentials or {}).values(), *simulator.owner_form.values()]


def _without(entered: list[str], text: str) -> str:
    for value in entered:
        text = text.replace(value, "…") if len(value) >= 8 else text
    return text
