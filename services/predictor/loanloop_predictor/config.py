"""The settings of the predictor; only app.py reads them."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from loanloop_common.listening import is_loopback
from loanloop_common.settings import LONGEST_S, ServiceSettings
from pydantic import BaseModel, Field, model_validator


class PredictorOptions(BaseModel):
    host: str = Field(default="127.0.0.1", description="Another than loopback makes /predict reachable by others")
    port: int = Field(default=8000, ge=0, le=65_535, description="0: any free port")
    threads: int = Field(
        default=2, ge=1, le=1024, description="Chunks of loans that are scored at once, each in a thread"
    )
    batch_records: int = Field(default=4096, ge=1, le=100_000, description="Records of the stream taken together")
    max_batch_loans: int = Field(default=1000, ge=1, le=100_000, description="Of one POST /predict/batch")
    max_body_bytes: int = Field(default=5_000_000, ge=1000, le=1_000_000_000, description="Of one POST; else 413")
    max_loan_bytes: int = Field(default=64_000, ge=1000, le=1_000_000_000, description="Of one POST /predict; else 413")
    max_batch_bytes_at_once: int = Field(
        default=64_000_000, ge=1000, le=1_000_000_000_000, description="Of all batches' bodies; one more gets 503"
    )
    max_requests: int = Field(
        default=256, ge=1, le=100_000, description="Waiting for a decision at once; one more gets 503"
    )
    body_within_s: float = Field(
        default=10.0, gt=0, le=LONGEST_S, description="For a request's body to arrive, else 408; for its head too"
    )
    reconcile_every_s: float = Field(
        default=3.0, gt=0, le=LONGEST_S, description="Look into the database for what is live"
    )
    drain_requests_s: int = Field(default=10, ge=1, le=LONGEST_S, description="At shutdown, for requests in flight")
    tls_cert: Path | None = Field(default=None, description="PEM, with its chain: REST by https")
    tls_key: Path | None = Field(default=None, description="PEM, without a password")
    keys_file: Path | None = Field(default=None, description="API keys by their hashes; `loanloop keys` writes it")
    oidc_issuer: str | None = Field(default=None, description="Whose tokens are taken: their claim `iss`")
    oidc_audience: str | None = Field(default=None, description="For whom they must be: their claim `aud`")
    oidc_jwks: str | None = Field(default=None, description="The issuer's public keys: a file, or an https address")
    oidc_roles_claim: str = Field(default="roles", description="Where the roles stand; `a.b` for a claim in a claim")
    oidc_role_prefix: str = Field(default="loanloop-", description="Before read, score and operate in that claim")
    open_behind_proxy: bool = Field(default=False, description="Beyond loopback without keys: a proxy asks for them")
    metrics_open: bool = Field(default=False, description="Beyond loopback: /metrics without a key")
    requests_per_s: float = Field(
        default=1000, ge=0, le=1_000_000_000, description="Of each key; one more gets 429. 0: no limit"
    )
    requests_burst: int = Field(default=2000, ge=1, le=1_000_000_000, description="Of each key, at once")

    @property
    def is_on_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def asks_for_keys(self) -> bool:
        return self.keys_file is not None or self.oidc_issuer is not None

    @model_validator(mode="after")
    def _nothing_is_half_set(self) -> Self:
        given = {name: getattr(self, name) for name in ("oidc_issuer", "oidc_audience", "oidc_jwks")}
        missing = [f"LOANLOOP_PREDICTOR__{name.upper()}" for name, value in given.items() if not value]
        if missing and len(missing) < len(given):
            raise ValueError(f"tokens also need {', '.join(missing)}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("LOANLOOP_PREDICTOR__TLS_CERT and LOANLOOP_PREDICTOR__TLS_KEY go together")
        jwks = urlsplit(self.oidc_jwks or "")
        if "://" in (self.oidc_jwks or "") and jwks.scheme != "https" and not is_loopback(jwks.hostname or ""):
            raise ValueError("LOANLOOP_PREDICTOR__OIDC_JWKS must be a file or an https address: its keys are trusted")
        return self

    @model_validator(mode="after")
    def _is_not_open_by_mistake(self) -> Self:
        if not (self.is_on_loopback or self.asks_for_keys or self.open_behind_proxy):
            raise ValueError(
                f"it would listen on {self.host} and let in everybody; set LOANLOOP_PREDICTOR__KEYS_FILE to a file of "
                "`loanloop keys new`, or LOANLOOP_PREDICTOR__OIDC_ISSUER, or "
                "LOANLOOP_PREDICTOR__OPEN_BEHIND_PROXY=true where a proxy asks who comes"
            )
        return self


class PredictorSettings(ServiceSettings):
    predictor: PredictorOptions = PredictorOptions()
