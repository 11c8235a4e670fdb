"""Every metric that is replaced as a whole: what is no longer so has no series any more."""

from typing import Literal

from loanloop_common.telemetry.about import About

SnapshotName = Literal[
    "loanloop_alerts_raised_total",
    "loanloop_breach_attempts",
    "loanloop_breach_open",
    "loanloop_consumer_lag_records",
    "loanloop_data_quality_loans",
    "loanloop_data_quality_missing",
    "loanloop_data_quality_rejected",
    "loanloop_deployments_total",
    "loanloop_event_time_seconds",
    "loanloop_live_model_age_seconds",
    "loanloop_live_model_deployed_timestamp_seconds",
    "loanloop_live_model_deployment_seq",
    "loanloop_live_model_info",
    "loanloop_model_accuracy",
    "loanloop_model_closed_day_timestamp_seconds",
    "loanloop_model_f1",
    "loanloop_model_metric",
    "loanloop_model_outcomes",
    "loanloop_model_precision",
    "loanloop_model_recall",
    "loanloop_model_roc_auc",
    "loanloop_policy_threshold",
    "loanloop_retraining_given_up",
    "loanloop_service_heartbeat_age_seconds",
    "loanloop_table_rows",
    "loanloop_table_size_bytes",
    "loanloop_training_epoch",
    "loanloop_training_epochs",
    "loanloop_training_heartbeat_age_seconds",
    "loanloop_training_loss",
    "loanloop_training_progress_ratio",
    "loanloop_training_rows_per_second",
    "loanloop_training_running",
    "loanloop_training_runs",
    "loanloop_versions_waiting",
]

_FIGURE = ("preset", "version", "window")


def _figure(name: str) -> About:
    return About(
        "evaluator",
        f"{name} of the live version's own decisions, on its latest closed day or the window before",
        _FIGURE,
    )


SNAPSHOTS: dict[SnapshotName, About] = {
    "loanloop_alerts_raised_total": About(
        "evaluator", "Alerts that were raised, since the installation began", ("kind", "severity")
    ),
    "loanloop_breach_attempts": About("evaluator", "Trainings that the open breach has had", ("preset",)),
    "loanloop_breach_open": About("evaluator", "1: the live version has an open breach", ("preset",)),
    "loanloop_consumer_lag_records": About(
        "all",
        "End of the log less what was done, of the partitions that this instance has",
        ("topic", "partition", "group"),
    ),
    "loanloop_data_quality_loans": About("evaluator", "Loans stored today (UTC, of arrival)"),
    "loanloop_data_quality_missing": About(
        "evaluator", "Loans stored today that have no value in this field", ("field",)
    ),
    "loanloop_data_quality_rejected": About(
        "evaluator",
        "Messages and rows rejected today, most first; from the 100th on `other`",
        ("reason", "field", "rule"),
    ),
    "loanloop_deployments_total": About("evaluator", "Deployments, since the installation began", ("preset", "kind")),
    "loanloop_event_time_seconds": About(
        "evaluator", "The event-time clock: how far the outcomes have come", ("preset",)
    ),
    "loanloop_live_model_age_seconds": About(
        "evaluator",
        "How long ago the live version was deployed: by the wall clock, and in event time",
        ("preset", "clock"),
    ),
    "loanloop_live_model_deployed_timestamp_seconds": About(
        "evaluator", "When the live version was deployed, by the wall clock", ("preset",)
    ),
    "loanloop_live_model_deployment_seq": About("evaluator", "Sequence of the live deployment", ("preset",)),
    "loanloop_live_model_info": About(
        "evaluator", "1; the labels say what is live", ("preset", "version", "kind", "pinned")
    ),
    "loanloop_model_accuracy": _figure("Accuracy"),
    "loanloop_model_closed_day_timestamp_seconds": About(
        "evaluator", "Begin of the live version's latest closed day, in event time", ("preset", "version")
    ),
    "loanloop_model_f1": _figure("F1"),
    "loanloop_model_metric": About(
        "evaluator",
        "The policy's metric over the rolling window, with its bounds; absent while too few outcomes are known",
        ("preset", "version", "metric", "bound"),
    ),
    "loanloop_model_outcomes": _figure("Known outcomes"),
    "loanloop_model_precision": _figure("Precision"),
    "loanloop_model_recall": _figure("Recall"),
    "loanloop_model_roc_auc": _figure("ROC-AUC"),
    "loanloop_policy_threshold": About(
        "evaluator",
        "Thresholds of the policy, by their names there: `breach_below`, `gate_at_least`",
        ("preset", "metric", "kind"),
    ),
    "loanloop_retraining_given_up": About("evaluator", "1: the open breach gets no more trainings", ("preset",)),
    "loanloop_service_heartbeat_age_seconds": About(
        "evaluator", "How long ago an instance of a service was last seen, for an hour after", ("service", "instance")
    ),
    "loanloop_table_rows": About(
        "evaluator", "Rows of a table, as PostgreSQL estimates them, partitions together", ("table",)
    ),
    "loanloop_table_size_bytes": About(
        "evaluator", "Size of a table with its indexes, partitions together", ("table",)
    ),
    "loanloop_training_epoch": About("trainer", "Epoch of the phase that the training under way is in"),
    "loanloop_training_epochs": About("trainer", "Epochs that the phase of the training under way will have at most"),
    "loanloop_training_heartbeat_age_seconds": About(
        "trainer", "How long ago the training under way gave a sign of life"
    ),
    "loanloop_training_loss": About("trainer", "Loss of the training under way"),
    "loanloop_training_progress_ratio": About(
        "trainer", "Share that is done of the phase that the training under way is in", ("phase",)
    ),
    "loanloop_training_rows_per_second": About("trainer", "Rows that the training under way learns in a second"),
    "loanloop_training_running": About("trainer", "1: a training run is queued or under way"),
    "loanloop_training_runs": About("evaluator", "Training runs, by what has become of them", ("state",)),
    "loanloop_versions_waiting": About("evaluator", "Versions that wait for their verdict"),
}
