"""The settings of the predictor; only app.py reads them."""

from loanloop_common.settings import ServiceSettings
from pydantic import BaseModel, Field


class PredictorOptions(BaseModel):
    host: str = Field(default="127.0.0.1", description="Another than loopback makes /predict reachable by others")
    port: int = Field(default=8000, ge=0, le=65_535, description="0: any free port")
    threads: int = Field(default=2, ge=1, description="Chunks of loans that are scored at once, each in a thread")
    batch_records: int = Field(default=4096, ge=1, description="Records of the stream taken together")
    max_batch_loans: int = Field(default=1000, ge=1, description="Of one POST /predict/batch")
    max_body_bytes: int = Field(default=5_000_000, ge=1000)
    max_requests: int = Field(default=256, ge=1, description="Waiting for a decision at once; one more gets 503")
    body_within_s: float = Field(default=10.0, gt=0, description="For a request's body to arrive; else 408")
    reconcile_every_s: float = Field(default=3.0, gt=0, description="Look into the database for what is live")
    drain_requests_s: int = Field(default=10, ge=1, description="At shutdown, for requests in flight")


class PredictorSettings(ServiceSettings):
    predictor: PredictorOptions = PredictorOptions()
