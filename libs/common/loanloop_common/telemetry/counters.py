"""Every counter."""

from typing import Literal

from loanloop_common.telemetry.about import About

CounterName = Literal[
    "loanloop_backups_total",
    "loanloop_batch_failures_total",
    "loanloop_collected_rows_total",
    "loanloop_commit_failures_total",
    "loanloop_consumer_records_total",
    "loanloop_consumer_restarts_total",
    "loanloop_db_query_errors_total",
    "loanloop_dead_letters_total",
    "loanloop_decisions_total",
    "loanloop_event_duplicates_total",
    "loanloop_events_stored_total",
    "loanloop_loans_skipped_total",
    "loanloop_messages_published_total",
    "loanloop_outbox_published_total",
    "loanloop_publish_failures_total",
]

_TOPICS = (("loan.received",), ("loan.outcome",))

COUNTERS: dict[CounterName, About] = {
    "loanloop_backups_total": About("backup", "Backups that were written and checked, or failed", ("result",)),
    "loanloop_batch_failures_total": About(
        "all", "Attempts at a batch that raised: each is tried again, or the consumer starts again", ("consumer",)
    ),
    "loanloop_collected_rows_total": About(
        "ingest", "Rows of files: sent on to Kafka, or refused", ("result",), {"ingest": (("produced",), ("refused",))}
    ),
    "loanloop_commit_failures_total": About(
        "all", "Batches that were handled and not committed, so that they are delivered again", ("consumer",)
    ),
    "loanloop_consumer_records_total": About("all", "Records whose batch was handled", ("consumer",)),
    "loanloop_consumer_restarts_total": About("all", "Consumers that left their group and came back", ("consumer",)),
    "loanloop_db_query_errors_total": About("all", "Statements that raised", ("query",)),
    "loanloop_dead_letters_total": About(
        "all",
        "Messages recorded as dead letters, once more where their batch is delivered again",
        ("reason",),
        {
            "all": (("too_large",),),
            "ingest": (
                ("invalid_field",),
                ("invalid_message",),
                ("conflict",),
                ("refused_by_database",),
                ("not_read",),
            ),
            "predictor": (("no_probability",),),
        },
    ),
    "loanloop_decisions_total": About(
        "predictor", "Loans decided and stored for the first time", ("channel", "decision", "version")
    ),
    "loanloop_event_duplicates_total": About(
        "ingest", "Events that were stored before under another offset", ("topic",), {"ingest": _TOPICS}
    ),
    "loanloop_events_stored_total": About("ingest", "New events stored", ("topic",), {"ingest": _TOPICS}),
    "loanloop_loans_skipped_total": About(
        "predictor",
        "Loans of the stream that are not decided",
        ("reason",),
        {
            "predictor": tuple(
                (reason,)
                for reason in ("history", "invalid", "conflict", "not_kept", "no_probability", "refused_by_database")
            )
        },
    ),
    "loanloop_messages_published_total": About("all", "Messages acknowledged by Kafka", ("topic",)),
    "loanloop_outbox_published_total": About("all", "Rows of the outbox published"),
    "loanloop_publish_failures_total": About("all", "Publishings that raised; each is tried again", ("topic",)),
}
