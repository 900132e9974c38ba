"""Workers that answer searches without a job."""

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from infra.postgres.tables.columns import time


class SearchServer(SQLModel, table=True):
    """Where a worker listens for gateways. `token` opens a connection; whoever reads Postgres may search anyway."""

    __tablename__ = "search_server"
    worker: str = Field(primary_key=True, sa_type=Text)
    protocol: int
    host: str = Field(sa_type=Text)
    port: int
    token: str = Field(sa_type=Text)
    seen_at: datetime = time(now=True)
