"""Every gauge that a service sets one value of, or that is read when it is asked for."""

from typing import Literal

from loanloop_common.telemetry.about import About

GaugeName = Literal[
    "loanloop_backup_due_timestamp_seconds",
    "loanloop_backup_taken_timestamp_seconds",
    "loanloop_build_info",
    "loanloop_db_pool_connections",
    "loanloop_db_pool_max_connections",
    "loanloop_disk_free_bytes",
    "loanloop_disk_size_bytes",
    "loanloop_http_requests_in_progress",
    "loanloop_outbox_rows",
    "loanloop_part_at_work",
    "loanloop_served_deployment_seq",
]

GAUGES: dict[GaugeName, About] = {
    "loanloop_backup_due_timestamp_seconds": About("backup", "When the next backup is, or was, due"),
    "loanloop_backup_taken_timestamp_seconds": About("backup", "When the newest backup that is whole was taken"),
    "loanloop_build_info": About("all", "1; the labels say which code runs, for which preset", ("version", "preset")),
    "loanloop_db_pool_connections": About("all", "Connections to PostgreSQL", ("state",)),
    "loanloop_db_pool_max_connections": About("all", "Connections to PostgreSQL that the pool may have"),
    "loanloop_disk_free_bytes": About(
        "all",
        "Free space of the file system of LOANLOOP_TELEMETRY__DATA_FOLDER, if that is set, or of the backups' folder",
        ("folder",),
    ),
    "loanloop_disk_size_bytes": About(
        "all", "Size of the file system whose free space `loanloop_disk_free_bytes` is", ("folder",)
    ),
    "loanloop_http_requests_in_progress": About("predictor", "Requests that wait for their decision"),
    "loanloop_outbox_rows": About("all", "Rows of the outbox found at the last look, 1000 at most"),
    "loanloop_part_at_work": About(
        "all", "1, or 0: the part is starting, waiting, retrying, failing or stopped", ("part",)
    ),
    "loanloop_served_deployment_seq": About("predictor", "Sequence of the deployment that this replica serves"),
}
