"""A path in a setting names the file that the caller means, also to a service that runs in another folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from loanloop.runtime.callers_paths import NAMES, absolute_paths
from loanloop_evaluator.config import EvaluatorSettings
from loanloop_ingest.config import IngestSettings
from loanloop_predictor.config import PredictorSettings
from loanloop_trainer.config import TrainerSettings
from pydantic import BaseModel

SERVICES = (IngestSettings, PredictorSettings, TrainerSettings, EvaluatorSettings)


def test_relative_paths_are_of_the_callers_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "LOANLOOP_PREDICTOR__KEYS_FILE": "keys",
        "loanloop_ingest__collect_folder": "loans/new",
        "LOANLOOP_PREDICTOR__TLS_CERT": "/etc/rest.pem",
        "LOANLOOP_PREDICTOR__OIDC_JWKS": "https://login.example/keys",
        "LOANLOOP_KAFKA__SSL_CAFILE": "",
        "LOANLOOP_PREDICTOR__HOST": "0.0.0.0",
    }

    assert absolute_paths(settings) == {
        "LOANLOOP_PREDICTOR__KEYS_FILE": f"{tmp_path}/keys",
        "loanloop_ingest__collect_folder": f"{tmp_path}/loans/new",
        "LOANLOOP_PREDICTOR__TLS_CERT": "/etc/rest.pem",
    }


def paths_of(settings: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        kinds: tuple[Any, ...] = (field.annotation, *get_args(field.annotation))
        variable = f"{prefix}{name.upper()}"
        if Path in kinds:
            yield variable
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from paths_of(kind, f"{variable}__")


def test_no_path_of_a_services_settings_is_forgotten() -> None:
    of_services = {name for settings in SERVICES for name in paths_of(settings, "LOANLOOP_")}

    assert of_services | {"LOANLOOP_PREDICTOR__OIDC_JWKS"} == NAMES  # that one is a file or an address
