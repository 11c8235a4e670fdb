"""The settings of ingest; only app.py reads them."""

from pathlib import Path

from loanloop_common.settings import LONGEST_S, ServiceSettings
from pydantic import BaseModel, Field


class IngestOptions(BaseModel):
    batch_records: int = Field(default=2000, ge=1, le=100_000, description="Most messages stored in one transaction")
    collect_folder: Path | None = Field(default=None, description="Its .csv and .parquet files are read, once each")
    collect_every_s: float = Field(default=86_400, gt=0, le=LONGEST_S, description="Daily by default")
    collect_settled_s: float = Field(
        default=5, gt=0, le=LONGEST_S, description="A file that changed since is still being written"
    )
    reconcile_every_s: float = Field(default=300, gt=0, le=LONGEST_S)


class IngestSettings(ServiceSettings):
    ingest: IngestOptions = IngestOptions()
