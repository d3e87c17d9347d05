"""What one would write first: FastAPI with SQLModel on the same data, answers as models, a token compared."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlmodel import Field, MetaData, Session, SQLModel, create_engine, select


class Table(SQLModel):
    metadata = MetaData()  # beside Joinder's tables of the same names


class Site(Table, table=True):
    __tablename__ = "site"
    id: str = Field(primary_key=True)
    timezone: str


class Interval(Table, table=True):
    __tablename__ = "interval"
    subject_id: str = Field(primary_key=True)
    resolution: str = Field(primary_key=True)
    start: int = Field(primary_key=True)
    end: int
    solar_wh: float
    quality: str


class SiteId(SQLModel):
    id: str


class Sites(SQLModel):
    sites: list[SiteId]
    errors: dict[str, str]
    nextPageToken: str | None = None


class Energy(SQLModel):
    kwh: float
    start: datetime
    end: datetime
    quality: str


class Energies(SQLModel):
    id: str
    summaryLevel: str
    intervals: list[Energy]


def create(path: Path) -> Any:
    engine = create_engine(f"sqlite:///{path}")
    app = FastAPI()

    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    def caller(given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
        if not given.credentials:
            raise HTTPException(401)
        return given.credentials

    @app.get("/sites")
    def sites(
        store: Annotated[Session, Depends(session)], who: Annotated[str, Depends(caller)], pageSize: int = 50
    ) -> Sites:
        found = store.exec(select(Site).order_by(Site.id).limit(pageSize + 1)).all()
        following = found[pageSize - 1].id if len(found) > pageSize else None
        return Sites(sites=[SiteId(id=site.id) for site in found[:pageSize]], errors={}, nextPageToken=following)

    @app.get("/sites/{site_id}/solar-intervals")
    def day(
        site_id: str,
        start: datetime,
        end: datetime,
        store: Annotated[Session, Depends(session)],
        who: Annotated[str, Depends(caller)],
        summaryLevel: str = "15mins",
    ) -> Energies:
        site = store.get(Site, site_id)
        if site is None:
            raise HTTPException(404)
        zone = ZoneInfo(site.timezone)
        query = (
            select(Interval)
            .where(Interval.subject_id == site_id, Interval.resolution == "15mins")
            .where(Interval.start >= int(start.timestamp()), Interval.start < int(end.timestamp()))
            .order_by(Interval.start)
        )
        rows = [
            Energy(
                kwh=row.solar_wh / 1000,
                start=datetime.fromtimestamp(row.start, zone),
                end=datetime.fromtimestamp(row.end, zone),
                quality=row.quality,
            )
            for row in store.exec(query)
        ]
        return Energies(id=site_id, summaryLevel=summaryLevel, intervals=rows)

    return app
