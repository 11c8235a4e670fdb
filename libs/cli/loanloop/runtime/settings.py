"""What the runtime takes from the environment: where Java and Kafka lie, where to cache, where to download, REST."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from loanloop.runtime.ports import HOST

# What is started with it runs in another folder.
Absolute = Annotated[Path, AfterValidator(Path.absolute)]


class RuntimeSettings(BaseSettings):
    java_home: Absolute | None = Field(default=None, validation_alias="JAVA_HOME")
    kafka_home: Absolute | None = Field(default=None, validation_alias="KAFKA_HOME")
    cache_home: Absolute = Field(default=Path.home() / ".cache", validation_alias="XDG_CACHE_HOME")
    rest_host: str = Field(
        default=HOST, validation_alias="LOANLOOP_PREDICTOR__HOST", description="Where `up` lets the predictor listen"
    )
    rest_certificate: Absolute | None = Field(
        default=None, validation_alias="LOANLOOP_PREDICTOR__TLS_CERT", description="The predictor's: REST by https"
    )
    rest_keys: Absolute | None = Field(
        default=None,
        validation_alias="LOANLOOP_PREDICTOR__KEYS_FILE",
        description="REST asks for a key",
    )
    mlflow_uri: str | None = Field(
        default=None, validation_alias="MLFLOW_TRACKING_URI", description="Where `up` mirrors the versions to"
    )
    kafka_download_url: str = Field(
        default="https://archive.apache.org/dist/kafka/{version}/kafka_2.13-{version}.tgz",
        validation_alias="LOANLOOP_KAFKA_DOWNLOAD_URL",
        description="Apache's own tarball, where there is no Maven; its SHA-512 is at the same address + .sha512",
    )
