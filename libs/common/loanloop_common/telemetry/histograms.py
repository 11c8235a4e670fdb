"""Every histogram."""

from typing import Literal

from loanloop_common.telemetry.about import About

HistogramName = Literal[
    "loanloop_batch_duration_seconds",
    "loanloop_batch_records",
    "loanloop_batch_step_duration_seconds",
    "loanloop_db_query_duration_seconds",
    "loanloop_event_loop_delay_seconds",
    "loanloop_http_request_duration_seconds",
    "loanloop_look_duration_seconds",
    "loanloop_model_load_duration_seconds",
    "loanloop_publish_duration_seconds",
    "loanloop_rest_batch_loans",
    "loanloop_run_duration_seconds",
]
# Filled with whole batches at once.
BulkName = Literal["loanloop_prediction_probability"]

_SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)

HISTOGRAMS: dict[HistogramName, About] = {
    "loanloop_batch_duration_seconds": About("all", "From a batch's arrival to its commit", ("consumer",)),
    "loanloop_batch_records": About("all", "Records of a batch", ("consumer",), buckets=_SIZES),
    "loanloop_batch_step_duration_seconds": About(
        "all",
        "Steps of a batch: ingest `read`, `store`, `publish_refusals`; predictor `stream_score`, `stream_store`, "
        "`stream_publish`, and of requests `rest_score`, `rest_store`",
        ("step",),
    ),
    "loanloop_db_query_duration_seconds": About(
        "all",
        "A statement, by its constant's name behind its module's (`decisions.claim_events`), `copy.TABLE`, `begin`, "
        "`commit`, `rollback`, or `other`",
        ("query",),
    ),
    "loanloop_event_loop_delay_seconds": About("all", "How late a timer of the event loop comes"),
    "loanloop_http_request_duration_seconds": About(
        "predictor",
        "From a request's arrival to its answer; route `other`: none of ours; status 499: the client hung up",
        ("route", "status"),
        {"predictor": (("/predict", "200"), ("/predict/batch", "200"))},
    ),
    "loanloop_look_duration_seconds": About(
        "all", "One look of a part that looks every few seconds: `ok` or `failed`", ("part", "result")
    ),
    "loanloop_model_load_duration_seconds": About(
        "predictor",
        "From a bundle's bytes to a version ready to serve, requests going on meanwhile: `served`, `refused`, or "
        "`postponed` for want of something that may be there later",
        ("result",),
        {"predictor": (("served",), ("refused",), ("postponed",))},
    ),
    "loanloop_publish_duration_seconds": About("all", "From messages to their acknowledgement by Kafka", ("topic",)),
    "loanloop_rest_batch_loans": About(
        "predictor", "Loans of concurrent requests that were decided together", buckets=_SIZES
    ),
    "loanloop_run_duration_seconds": About(
        "all",
        "`collect`: a file (ingest: `ok`, `refused`). `train`: a training run from its creation to its end (trainer: "
        "`succeeded`, `failed`). `evaluate`: a challenger judged (evaluator: `passed`, `rejected`, `refused` where it "
        "can't be read). `deploy`: from a deployment to its serving (predictor: `served`, `refused`)",
        ("kind", "result"),
        {
            "ingest": (("collect", "ok"), ("collect", "refused")),
            "trainer": (("train", "succeeded"), ("train", "failed")),
            "evaluator": (("evaluate", "passed"), ("evaluate", "rejected"), ("evaluate", "refused")),
            "predictor": (("deploy", "served"), ("deploy", "refused")),
        },
        buckets=_LONG,
    ),
}
BULK_HISTOGRAMS: dict[BulkName, About] = {
    "loanloop_prediction_probability": About(
        "predictor",
        "Probability of default of every loan that was scored",
        buckets=tuple(round(0.05 * n, 2) for n in range(1, 21)),
    ),
}
