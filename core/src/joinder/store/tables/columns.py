"""Columns that many tables have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, false
from sqlmodel import Field


def big(**options: Any) -> Any:
    """Makes a column of 64 bits, as times and amounts need."""
    return Field(sa_type=BigInteger, **options)


def no() -> Any:
    """Makes a flag that is off, also in rows that are there when it is added."""
    return Field(default=False, sa_column_kwargs={"server_default": false()})
