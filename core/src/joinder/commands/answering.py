"""Printing answers: with --json what the REST API answers, for a person a few aligned columns.

Standard output is only data; what is said about it goes to standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from joinder.clean import clean_json, clean_line
from joinder.commands.running import echo, show

if TYPE_CHECKING:
    from joinder.commands.admin import Owner

T = TypeVar("T")
Columns = Mapping[str, Callable[[T], object]]
qr_option = click.option("--qr", is_flag=True, help="Also draw it as a QR code, on standard error.")


def print_list(answers: Sequence[T], columns: Columns[T], as_json: bool) -> None:
    if as_json:
        print_json(answers)
    else:
        show([{name: plain(read(answer)) for name, read in columns.items()} for answer in answers], False)


def print_owned(rows: Sequence[tuple[Owner, T]], columns: Columns[T], as_json: bool) -> None:
    """Prints answers of several accounts, each with its account, which only a person is shown."""
    if as_json:
        print_json([answer for _, answer in rows])
        return
    named: Columns[tuple[Owner, T]] = {name: lambda row, read=read: read(row[1]) for name, read in columns.items()}  # type: ignore[misc]
    print_list(rows, {**named, "account": lambda row: row[0].told}, False)


def with_accounts(columns: Columns[Any], known: Mapping[str, Owner]) -> Columns[Any]:
    """Returns columns that tell `account` by its name, too; one that is gone by its id alone."""

    def account(one: Any) -> str:
        owner = known.get(one.account_id)
        return owner.told if owner is not None else str(one.account_id)

    return {**columns, "account": account}


def print_one(answer: object, as_json: bool) -> None:
    """Prints one line a member, those inside another as `health.state`."""
    if as_json:
        print_json(answer)
        return
    import msgspec

    lines = list(_members("", msgspec.to_builtins(answer)))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        echo(f"{name.ljust(width)}  {text}")


def print_json(answer: object) -> None:
    echo(encoded(answer, indent=2))


def encoded(answer: object, *, indent: int = 0) -> str:
    """Encodes JSON, also of what msgspec refuses: half of a surrogate pair, which JSON in the store may hold."""
    import json

    import msgspec

    try:
        text = msgspec.json.encode(answer)
        return clean_json((msgspec.json.format(text, indent=indent) if indent else text).decode())
    except UnicodeEncodeError:
        return clean_json(json.dumps(msgspec.to_builtins(answer), indent=indent or None))


def say(text: str) -> None:
    echo(clean_line(text), err=True)


def print_link(link: object, url: str, *, qr: bool, as_json: bool) -> None:
    """Prints a URL, or as JSON `link`, the answer that holds it; `qr`: a QR code too, on standard error."""
    import sys

    if as_json:
        print_json(link)
    else:
        echo(clean_line(url))
    if qr:
        import segno

        try:
            code = segno.make(url, error="l", micro=False)
        except segno.DataOverflowError:
            say("The link is too long for a QR code.")
        else:
            code.terminal(out=sys.stderr, border=2, compact=True)


def _members(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [line for name, member in value.items() for line in _members(f"{prefix}.{name}".lstrip("."), member)]
    if isinstance(value, list):
        if all(isinstance(entry, dict) and set(entry) == {"id"} for entry in value):
            return [(prefix, ", ".join(entry["id"] for entry in value) or "-")]
        if any(isinstance(entry, dict | list) for entry in value):
            return [line for index, entry in enumerate(value, 1) for line in _members(f"{prefix}.{index}", entry)]
        return [(prefix, ", ".join(map(plain, value)) or "-")]
    return [(prefix, plain(value))]


def plain(value: object) -> str:
    """Returns a value as one cell, in which no name of a vendor or owner steers a terminal or breaks a line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "-"
    return clean_line(str(value))


def print_deleted(row_id: str) -> None:
    """Prints the deleted id as JSON, where the REST API answers with nothing."""
    from joinder.commands.answers import Deleted

    print_json(Deleted(deleted=row_id))
