"""Times are taken and refused alike wherever one is given: in queries, in the members of bodies, by commands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from click import BadParameter

from api.conftest import NewTenant
from api.test_queries import told
from joinder import moments
from joinder.api.app import routes
from joinder.api.deps import moment_of
from joinder.api.members import faults
from joinder.commands.admin import MOMENT
from joinder.services.records import accounts
from joinder.services.refusals import Invalid
from joinder.wire.base import Body

DATABASES = ("sqlite",)  # nothing here reads the database
NO_TIME = "must be ISO 8601 with an offset, e.g. 2026-06-01T00:00:00Z"
OTHER_YEARS = "must be of the years 2000 to 2199"
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
TAKEN = {
    "2026-06-01T00:00:00Z": JUNE,
    "2026-06-01t00:00:00z": JUNE,
    "2026-06-01 00:00:00Z": JUNE,
    "2026-06-01T00:00Z": JUNE,
    "2026-06-01 00:00Z": JUNE,
    "2026-06-01T02:00:00+02:00": JUNE,
    "2026-06-01T02:00:00+0200": JUNE,
    "2026-06-01T02:00:00+02": JUNE,
    "2026-06-01T02:00+02": JUNE,
    "2026-05-31T14:15:00-09:45": JUNE,
    "2026-06-01T00:00:00-00:00": JUNE,
    "2026-06-01T14:00:00+14:00": JUNE,
    "2026-06-01T23:59:00+23:59": JUNE,  # no place has it; RFC 3339 does
    "2026-06-01T00:00:00.5Z": JUNE.replace(microsecond=500000),
    "2026-06-01T00:00:00.123456789Z": JUNE.replace(microsecond=123456),
    "2026-06-01T00:00:00.1234567890123Z": JUNE.replace(microsecond=123456),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1, tzinfo=UTC),
    "2017-01-01T05:29:60.5+05:30": datetime(2017, 1, 1, tzinfo=UTC),
    "2000-01-01T00:00:00+14:00": datetime(1999, 12, 31, 10, tzinfo=UTC),
    "2199-12-31T23:59:59-12:00": datetime(2200, 1, 1, 11, 59, 59, tzinfo=UTC),
    "2028-02-29T00:00:00Z": datetime(2028, 2, 29, tzinfo=UTC),
}
REFUSED = {
    **dict.fromkeys(
        (
            "2026-06-01T00:00:00",
            "2026-06-01T00:00:00 Z",
            "2026-06-01T00Z",
            "2026-06-01T24:00:00Z",
            "2026-06-01T24:00Z",
            "2026-06-01T25:00:00Z",
            "2026-06-01T00:60:00Z",
            "2026-06-01T00:00:60Z",
            "2026-06-30T23:59:60+01:00",
            "2026-06-15T23:59:60Z",
            "2026-06-01T00:00:61Z",
            "2026-06-01T00:00:00,5Z",
            "2026-06-01T00:00:00.Z",
            "2026-06-01T00:00:00+24:00",
            "2026-06-01T00:00:00+02:60",
            "2026-06-01T00:00:00+2",
            "2026-06-01T00:00:00+002",
            "2026-06-01T00:00:00+02:00:30",
            "2026-06-01T00:00:00−02:00",  # a minus sign, as print has it
            "2026-06-01T00:00:00Z[UTC]",
            "2026-06-01T00:00:00ZZ",
            "2026-06-01x00:00:00Z",
            "2026-06-01  00:00:00Z",
            "2026-W23-1T00:00:00Z",
            "2026-152T00:00:00Z",
            "20260601T000000Z",
            "2026-06-31T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "+2026-06-01T00:00:00Z",
            "-2026-06-01T00:00:00Z",
            "12026-06-01T00:00:00Z",
            "٢٠٢٦-06-01T00:00:00Z",
            " 2026-06-01T00:00:00Z",
            "2026-06-01T00:00:00Z ",
            "2026-06-01T00:00:00Z\n",
            "1780272000",
            "now",
        ),
        NO_TIME,
    ),
    **dict.fromkeys(
        (
            "0001-01-01T00:00:00+14:00",
            "1970-01-01T00:00:00Z",
            "1999-12-31T23:59:59-01:00",
            "1998-12-31T23:59:60Z",
            "2200-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-14:00",
        ),
        OTHER_YEARS,
    ),
}
PROGRAM = {"name": "One", "vendors": ["sunny"]}
APPLICATION = {"utilityAccountNumber": "1", "customer": {}, "address": {}}
SUBMISSION = {**APPLICATION, "programID": "prog-aaaaaaaaaaaaaaaa"}
PRODUCTION = {"kwh": 1}
VIRTUAL = {"programID": "prog-aaaaaaaaaaaaaaaa"}
BODIES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("/programs", PROGRAM, ("start",)),
    ("/programs", PROGRAM, ("end",)),
    ("/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill", {}, ("start",)),
    ("/enrollments/enrl-aaaaaaaaaaaaaaaa/backfill", {}, ("end",)),
    ("/webhooks/whep-aaaaaaaaaaaaaaaa/replay", {}, ("since",)),
    ("/enrollments/submit", SUBMISSION, ("applicationTime",)),
    ("/enrollments/enrl-aaaaaaaaaaaaaaaa/applications", APPLICATION, ("applicationTime",)),
    ("/virtual/enrollments", VIRTUAL, ("applicationTime",)),
    ("/virtual/sites", {}, ("operationalSince",)),
    ("/virtual/batteries", {}, ("reportedAt",)),
    ("/virtual/solar-inverters", {}, ("reportedAt",)),
    ("/virtual/solar-inverters", {"recentProduction": PRODUCTION}, ("recentProduction", "start")),
    ("/virtual/solar-inverters", {"lifetimeProduction": PRODUCTION}, ("lifetimeProduction", "start")),
]


class _Body(msgspec.Struct):
    at: moments.Instant


def given(body: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    name, *rest = place
    return {**body, name: given(body.get(name, {}), tuple(rest), value) if rest else value}


@pytest.mark.parametrize("text", TAKEN)
def test_a_time_that_means_one_thing_is_taken_by_queries_bodies_and_commands(text: str) -> None:
    assert moments.read(text).at == TAKEN[text]
    seconds = int(TAKEN[text].timestamp())
    assert moment_of("start", text) == seconds
    assert moment_of("start", text[:11] + text[11:].replace("+", " ")) == seconds  # a `+` nobody encoded
    assert MOMENT.convert(text, None, None) == seconds
    assert faults({"at": text}, _Body) == {}


@pytest.mark.parametrize("text", REFUSED)
def test_one_that_does_not_is_refused_by_all_in_one_sentence(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        moment_of("start", text)
    assert refused.value.errors == {"/start": REFUSED[text]}
    assert faults({"at": text}, _Body) == {"/at": REFUSED[text]}
    with pytest.raises(BadParameter, match=REFUSED[text].replace(".", r"\.")):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize("value", [0, 1.5, True, [], {}, ["2026-06-01T00:00:00Z"], None])
def test_what_is_no_text_is_no_time(value: object) -> None:
    assert faults({"at": value}, _Body) == {"/at": NO_TIME}


@pytest.mark.parametrize("text", ["2026-06-01T00:00:00 02:00", "2026-06-01T00:00:00 02"])
def test_a_blank_stands_for_a_plus_in_queries_alone(text: str) -> None:
    assert moment_of("start", text) == int(JUNE.timestamp()) - 7200
    assert faults({"at": text}, _Body) == {"/at": NO_TIME}


@pytest.mark.parametrize(("path", "body", "place"), BODIES)
async def test_every_body_reads_its_times_so(
    new_tenant: NewTenant, path: str, body: dict[str, Any], place: tuple[str, ...]
) -> None:
    mode = accounts.VIRTUAL if path.startswith("/virtual") else accounts.PRODUCTION
    api = (await new_tenant(mode=mode)).api
    for value, wanted in (("2026-06-01T00:00:00", NO_TIME), (5, NO_TIME), ("1970-01-01T00:00Z", OTHER_YEARS)):
        answer = await api.post(path, json=given(body, place, value))
        assert told(answer) == {"/" + "/".join(place): wanted}
    answer = await api.post(path, json=given(body, place, "2023-06-01 02:00+02"))
    assert NO_TIME not in answer.text
    assert OTHER_YEARS not in answer.text


@pytest.mark.parametrize("path", ["/sites/site-aaaaaaaaaaaaaaaa/solar-intervals", "/aggregates/intervals"])
@pytest.mark.parametrize("name", ["start", "end"])
async def test_every_query_reads_its_times_so(api: httpx.AsyncClient, path: str, name: str) -> None:
    answer = await api.get(path, params={name: "2020-06-01T00:00:00"})
    assert told(answer) == {f"/{name}": moments.WANTED}


def test_no_body_has_a_time_of_another_kind() -> None:
    times = dict(times_of_bodies())
    assert {name.partition(".")[2] for name in times} == {place[-1] for _, _, place in BODIES}
    assert [name for name, kind in times.items() if "Instant" not in kind] == []


def times_of_bodies() -> Iterator[tuple[str, str]]:
    """Yields the members of bodies that the document calls a time, with what msgspec takes them for."""
    assert routes()  # they import every body
    waiting: list[type[Body]] = list(Body.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
        for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
            if "date-time" in str(schema["properties"][field.encode_name]):
                yield f"{kind.__name__}.{field.encode_name}", str(field.type)
