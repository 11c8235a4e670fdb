"""The settings of the evaluator; only app.py reads them."""

from typing import Annotated

from loanloop_common.settings import LONGEST_S, ServiceSettings
from pydantic import AfterValidator, BaseModel, Field, HttpUrl


def _without_login(url: HttpUrl) -> HttpUrl:
    """Each error of a post says the address, to the log too. Raises ValueError."""
    if url.username or url.password:
        raise ValueError("it must be an address without a login: put a proxy that adds one before Alertmanager")
    return url


class EvaluatorOptions(BaseModel):
    poll_s: float = Field(default=2.0, gt=0, le=LONGEST_S, description="How often to look without a wake-up")
    quality_every_s: float = Field(
        default=30.0, gt=0, le=LONGEST_S, description="How often to look at the loans that arrive"
    )
    facts_every_s: float = Field(
        default=15.0, gt=0, le=LONGEST_S, description="How often the metrics of the database are read"
    )
    alerts_every_s: float = Field(
        default=15.0, gt=0, le=LONGEST_S, description="How often Alertmanager is told of the alerts"
    )
    threads: int = Field(default=1, ge=1, le=1024, description="For the scores of a gate's window")


class EvaluatorSettings(ServiceSettings):
    evaluator: EvaluatorOptions = EvaluatorOptions()
    alertmanager_url: Annotated[HttpUrl, AfterValidator(_without_login)] | None = Field(
        default=None, description="Where alerts are posted beside their topic"
    )
