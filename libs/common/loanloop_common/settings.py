"""Settings that every service shares. Each service's config.py adds its own; only its app.py reads them."""

import re
import socket
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from loanloop_common.errors import LoanloopError


class SettingsInvalid(LoanloopError):
    """A setting is missing or wrong; the message names its environment variable."""


LONGEST_S = 31_536_000  # a year: what would be waited for longer is a mistype, and infinity ends in a traceback
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^][@/\s:]*)(?::(\d{1,5}))?")


def _is_host(named: str) -> bool:
    """With its port or without. A client would take another port, modulo 65,536, and wait there for ever."""
    found = _HOST.fullmatch(named)
    return found is not None and (found[2] is None or 1 <= int(found[2]) <= 65_535)


def kafka_hosts(named: str) -> str:
    """No password gets into what is said later of an address that does not answer. Raises ValueError."""
    hosts = [one.strip() for one in named.split(",")]
    if not all(one and not one.startswith(":") and _is_host(one) for one in hosts):
        raise ValueError(
            "it must be HOST:PORT with a port from 1 to 65535, several with commas between; a login has settings of "
            "its own"
        )
    return named


def _dsn(dsn: str) -> str:
    """Says nothing of what is in it: a password may be."""
    scheme, _, behind = dsn.partition("://")
    hosts = behind.partition("/")[0].partition("?")[0].rpartition("@")[2]
    login = behind.partition("/")[0].rpartition("@")[0]
    if scheme not in ("postgres", "postgresql") or "@" in login or not all(map(_is_host, hosts.split(","))):
        raise ValueError(
            "it must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with a port from 1 to 65535 and special "
            "characters in the password as %XX"
        )
    return dsn


Dsn = Annotated[str, AfterValidator(_dsn)]


class KafkaSettings(BaseModel):
    bootstrap_servers: Annotated[str, AfterValidator(kafka_hosts)] = Field(
        default="127.0.0.1:9092", description="host:port, several separated by commas"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_check_hostname: bool = True
    partitions: int = Field(default=4, ge=1, le=10_000, description="Of the loan topics, when they are created")
    replication: int = Field(default=1, ge=-1, le=1000, description="-1: the broker's default")
    max_message_bytes: int = Field(
        default=1_048_588,
        ge=100_000,
        le=1_000_000_000,
        description="The broker's message.max.bytes; a larger message is refused here",
    )
    session_timeout_ms: int = Field(default=10_000, ge=1000, le=86_400_000)
    max_poll_interval_ms: int = Field(default=300_000, ge=1000, le=86_400_000)
    publish_within_s: float = Field(default=60, gt=0, le=LONGEST_S, description="Give up waiting for acknowledgements")
    finish_batch_within_s: float = Field(
        default=15, gt=0, le=LONGEST_S, description="At shutdown, for the batch in hand and the one before it"
    )

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("ssl_keyfile also needs ssl_certfile")
        if not self.security_protocol.startswith("SASL"):
            return self
        missing = [name for name in ("sasl_mechanism", "sasl_username", "sasl_password") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.security_protocol} also needs {', '.join(missing)}")
        return self


class PostgresSettings(BaseModel):
    dsn: Dsn = Field(default="postgresql://loanloop@127.0.0.1:5432/loanloop", repr=False)
    read_only_dsn: Dsn | None = Field(
        default=None, repr=False, description="A replica for reports, metrics and training reads"
    )
    pool_size: int = Field(default=8, ge=1, le=1000)


class TelemetrySettings(BaseModel):
    host: str = Field(default="127.0.0.1", description="Where /metrics, /health, /alive are; the predictor: by REST")
    port: int = Field(default=0, ge=0, le=65_535, description="0: any free port, which `loanloop status` shows")
    data_folder: Path | None = Field(default=None, description="The disk that it is on is measured")


_OTLP_PROTOCOL = "http/protobuf"


class TracingSettings(BaseSettings):
    """Those of OpenTelemetry's own variables that say whether there are spans; its SDK reads all of them."""

    model_config = SettingsConfigDict(env_prefix="OTEL_", env_ignore_empty=True, extra="ignore", frozen=True)

    exporter_otlp_endpoint: str = ""
    exporter_otlp_traces_endpoint: str = ""
    exporter_otlp_protocol: str = _OTLP_PROTOCOL
    exporter_otlp_traces_protocol: str = ""
    traces_exporter: str = "otlp"
    sdk_disabled: str = "false"

    @property
    def is_wanted(self) -> bool:
        named = self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        return bool(named) and self.traces_exporter != "none" and self.sdk_disabled.lower() != "true"

    @property
    def unserved(self) -> str | None:
        """What is asked for and not there, with what to do."""
        if self.traces_exporter != "otlp":
            return f"OTEL_TRACES_EXPORTER is {self.traces_exporter!r}: it must be 'otlp', or 'none'"
        protocol = self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol
        if protocol != _OTLP_PROTOCOL:
            named = "TRACES_PROTOCOL" if self.exporter_otlp_traces_protocol else "PROTOCOL"
            return f"OTEL_EXPORTER_OTLP_{named} is {protocol!r}: it must be {_OTLP_PROTOCOL!r}, mostly at port 4318"
        return None


def _instance_id() -> str:
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"


class ServiceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LOANLOOP_", env_nested_delimiter="__", extra="ignore", frozen=True)

    portfolio: str = Field(default="sba", description="A shipped preset's name, or a portfolio file")
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_followed_per_s: int = Field(
        default=100, ge=0, le=1_000_000, description="Lines of messages whose traceparent says `sampled`; 0: none"
    )
    instance_id: str = Field(default_factory=_instance_id)
    stop_within_s: float = Field(
        default=30, gt=0, le=LONGEST_S, description="For a graceful shutdown, all parts together"
    )


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """The settings from the environment. Raises SettingsInvalid, one sentence that names the variable."""
    try:
        return kind()
    except SettingsError as unreadable:  # what is set, which may be a password, is quoted by both causes
        field = re.search(r'field "(\w+)"', str(unreadable))
        variable = f"LOANLOOP_{field[1].upper()}" if field else "A variable LOANLOOP_…"
        raise SettingsInvalid(
            f"{variable} is not usable: it must be one JSON object; or leave it out and set {variable}__NAME for each."
        ) from None
    except ValidationError as invalid:
        first = invalid.errors()[0]
        variable = "LOANLOOP_" + "__".join(str(part).upper() for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsInvalid(f"{variable} is not usable: {message}.") from None
