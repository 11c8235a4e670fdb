"""Settings are read from the environment, and a wrong one is named."""

import math
import traceback
from collections.abc import Iterator

import pytest
from loanloop_common.kafka import make_broker
from loanloop_common.settings import KafkaSettings, ServiceSettings, SettingsInvalid, load_settings
from loanloop_evaluator.config import EvaluatorSettings
from loanloop_ingest.config import IngestSettings
from loanloop_predictor.config import PredictorSettings
from loanloop_trainer.config import TorchrunSettings
from pydantic import BaseModel, ValidationError


def test_nested_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANLOOP_PORTFOLIO", "sba_application")
    monkeypatch.setenv("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", "a:1,b:2")
    monkeypatch.setenv("LOANLOOP_POSTGRES__READ_ONLY_DSN", "postgresql://replica/loans")

    settings = load_settings(ServiceSettings)

    assert settings.portfolio == "sba_application"
    assert settings.kafka.bootstrap_servers == "a:1,b:2"
    assert settings.postgres.read_only_dsn == "postgresql://replica/loans"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("LOANLOOP_LOG_FORMAT", "xml", "LOANLOOP_LOG_FORMAT"),
        ("LOANLOOP_KAFKA__PARTITIONS", "0", "LOANLOOP_KAFKA__PARTITIONS"),
        ("LOANLOOP_KAFKA__SECURITY_PROTOCOL", "SASL_SSL", "sasl_mechanism, sasl_username, sasl_password"),
        ("LOANLOOP_KAFKA__SSL_KEYFILE", "key.pem", "LOANLOOP_KAFKA is not usable: ssl_keyfile also needs ssl_certfile"),
        ("LOANLOOP_POSTGRES__POOL_SIZE", "99999999999999999999", "LOANLOOP_POSTGRES__POOL_SIZE"),
        ("LOANLOOP_KAFKA", "3", "LOANLOOP_KAFKA is not usable"),
    ],
)
def test_wrong_setting_is_named_in_one_sentence(
    variable: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsInvalid) as refused:
        load_settings(ServiceSettings)

    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOANLOOP_POSTGRES__DSN", "postgresql://loanloop:p@ss:w/rdSECRET@postgres/loanloop"),
        ("LOANLOOP_POSTGRES__DSN", "postgresql://loanloop:p@SECRET@postgres/loanloop"),
        ("LOANLOOP_POSTGRES__READ_ONLY_DSN", "garbageSECRET"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", "user:SECRET@kafka:9092"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", "localhost:99999"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", "localhost:0"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", "a:1,[::1]:65536"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", ",,"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", ":9092"),
        ("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", ""),
        ("LOANLOOP_POSTGRES__DSN", "postgresql://loanloop:SECRET@127.0.0.1:99999/loanloop"),
        ("LOANLOOP_POSTGRES__DSN", "postgresql://loanloop:SECRET@a:1,b:65536/loanloop"),
        ("LOANLOOP_KAFKA", '{"sasl_password":"SECRET"'),
        ("LOANLOOP_POSTGRES", "postgresql://loanloop:SECRET@127.0.0.1/loanloop"),
        ("LOANLOOP_ALERTMANAGER_URL", "http://loanloop:SECRET@alertmanager:9093"),
    ],
)
def test_an_address_that_is_none_is_refused_without_a_word_of_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsInvalid) as refused:
        load_settings(EvaluatorSettings)

    assert str(refused.value).startswith(f"{variable} is not usable: it must be ")
    assert "SECRET" not in "".join(traceback.format_exception(refused.value))


def numbers_of(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from numbers_of(field.annotation)
        elif field.annotation in (int, float):
            yield model, field.validation_alias if isinstance(field.validation_alias, str) else name


@pytest.mark.parametrize("too_much", [10**20, math.inf])
@pytest.mark.parametrize("kind", [IngestSettings, PredictorSettings, TorchrunSettings, EvaluatorSettings])
def test_every_number_has_a_bound_above(kind: type[BaseModel], too_much: float) -> None:
    unbounded = []
    for model, name in numbers_of(kind):
        try:
            model.model_validate({name: too_much})
        except ValidationError:
            continue
        unbounded.append(name)

    assert unbounded == []
    assert {"pool_size", "stop_within_s"} <= {name for _, name in numbers_of(kind)}


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://loans:%40secret@db-1:5432,db-2:5432/loans?target_session_attrs=read-write",
        "postgresql:///loans?host=/run/postgresql",
        "postgres://loans@[::1]:5432/loans",
        "postgresql://replica",
    ],
)
def test_addresses_as_libpq_knows_them_are_taken(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOANLOOP_POSTGRES__DSN", dsn)

    assert load_settings(ServiceSettings).postgres.dsn == dsn


def test_secrets_are_not_shown() -> None:
    settings = ServiceSettings.model_validate(
        {
            "kafka": _sasl("PLAIN"),
            "postgres": {"dsn": "postgresql://u:hunter2@h/d", "read_only_dsn": "postgresql://u:hunter2@h/d"},
        }
    )

    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl_over_tls_reaches_the_kafka_client(mechanism: str) -> None:
    broker = make_broker(KafkaSettings.model_validate(_sasl(mechanism)), service="test")

    client = broker._connection_kwargs
    assert (client["security_protocol"], client["sasl_mechanism"]) == ("SASL_SSL", mechanism)
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("loans", "hunter2")
    assert client["ssl_context"].check_hostname


async def test_tls_alone_and_plain_text_reach_the_kafka_client() -> None:
    tls = make_broker(KafkaSettings(security_protocol="SSL", ssl_check_hostname=False), service="test")
    plain = make_broker(KafkaSettings(), service="test")

    assert tls._connection_kwargs["security_protocol"] == "SSL"
    assert not tls._connection_kwargs["ssl_context"].check_hostname
    assert plain._connection_kwargs["security_protocol"] == "PLAINTEXT"


async def test_producer_is_told_everything_that_keeps_a_message() -> None:
    client = make_broker(KafkaSettings(), service="test")._connection_kwargs

    assert (client["acks"], client["enable_idempotence"], client["compression_type"]) == ("all", True, "zstd")


def test_settings_do_not_change_after_they_are_read() -> None:
    settings = ServiceSettings()

    with pytest.raises(ValidationError):
        settings.portfolio = "other"  # type: ignore[misc]  # what is tested


def _sasl(mechanism: str) -> dict[str, str]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_username": "loans",
        "sasl_password": "hunter2",
    }
