"""Backups as their manifests tell of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from loanloop.backups.folder import Kept
from loanloop.backups.manifest import Manifest, Positions
from loanloop_common.postgres import known_migrations

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
MANIFEST = Manifest(
    format=1,
    loanloop="0.1.0",
    taken_at=BEGUN,
    took_s=1.0,
    portfolio="sba",
    portfolio_file=None,
    schema_hash="x",
    begun_at=BEGUN,
    postgres="18",
    migrations=known_migrations(),
    tables=[],
    partitions=[],
    sequences=[],
    positions=Positions(cluster_id="c", topic_ids={}, groups={"ingest": {"loan.received": {"0": 7}}}),
    n_models=0,
    corrupt_models=[],
)


def taken(day: int, **other: object) -> Kept:
    changed = msgspec.structs.replace(MANIFEST, **{"taken_at": BEGUN + timedelta(days=day), **other})
    return Kept(Path(str(day)), changed)
