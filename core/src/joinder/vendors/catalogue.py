"""Vendors that can be installed, out of one data file: catalogue.toml beside this module."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import msgspec


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vendor of the catalogue, installed or not."""

    name: str
    label: str
    distribution: str
    kind: str
    reads: str
    contract: str
    home: str


class _File(msgspec.Struct):
    vendor: list[Listed]


def catalogue() -> list[Listed]:
    """Returns the vendors by name."""
    text = files("joinder.vendors").joinpath("catalogue.toml").read_text("utf-8")
    return sorted(msgspec.convert(tomllib.loads(text), _File).vendor, key=lambda listed: listed.name)
