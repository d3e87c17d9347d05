"""Opens the database that a URL names, migrated."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from joinder.setting_values import is_host
from joinder.settings import ConfigError
from joinder.store.driver_errors import passing
from joinder.store.types import Store

_PORT = (
    "JOINDER_DATABASE_URL: the port must lie between 1 and 65535, as in postgresql://USER:PASSWORD@HOST:5432/DATABASE"
)
_HOST = "JOINDER_DATABASE_URL: no host can have the name in it; write postgresql://USER:PASSWORD@HOST/DATABASE"


async def open_store(database_url: str) -> Store:
    """Opens, creating and migrating as needed.

    Raises ConfigError for an unusable URL or a newer schema, StoreTrouble while the database is away.
    """
    url = parsed_url(database_url)
    if url.get_backend_name() == "sqlite":
        from joinder.store.sqlite import open_sqlite

        return open_sqlite(url)
    from joinder.store.postgres import open_postgres

    try:
        return await open_postgres(url)
    except Exception as error:  # noqa: BLE001 - a wrong configuration goes on as it is
        raise passing(error) from None


def parsed_url(database_url: str) -> URL:
    """Parses the URL. Raises ConfigError, without quoting the URL: it may hold a password."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        url = None
    except ValueError:  # what stands behind the host's colon is no number
        raise ConfigError(_PORT) from None
    if url is not None and url.drivername in ("postgresql", "postgres") and url.database:
        if url.port is not None and not 1 <= url.port <= 65535:
            raise ConfigError(_PORT)
        if url.host is not None and not is_host(url.host):
            raise ConfigError(_HOST)
        return url.set(drivername="postgresql")
    if url is None or url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        raise ConfigError("JOINDER_DATABASE_URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
    return url
