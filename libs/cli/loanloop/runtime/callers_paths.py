"""Paths in the caller's settings: a service runs in the data folder, where a relative one would name another file."""

from collections.abc import Mapping
from pathlib import Path

NAMES = frozenset(
    {
        "LOANLOOP_KAFKA__SSL_CAFILE",
        "LOANLOOP_KAFKA__SSL_CERTFILE",
        "LOANLOOP_KAFKA__SSL_KEYFILE",
        "LOANLOOP_TELEMETRY__DATA_FOLDER",
        "LOANLOOP_INGEST__COLLECT_FOLDER",
        "LOANLOOP_PREDICTOR__TLS_CERT",
        "LOANLOOP_PREDICTOR__TLS_KEY",
        "LOANLOOP_PREDICTOR__KEYS_FILE",
        "LOANLOOP_PREDICTOR__OIDC_JWKS",
    }
)


def absolute_paths(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that are paths, as the caller's folder has them. An address stays what it is."""
    return {
        name: str(Path(value).absolute())
        for name, value in settings.items()
        if name.upper() in NAMES and value and "://" not in value
    }
