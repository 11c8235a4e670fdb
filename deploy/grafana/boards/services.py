"""The services: what they do, how fast, what waits and what fails. Prometheus, wall clock."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.timeseries import Panel as Series

from deploy.grafana.boards.panels import Panel, dashboard, series, stat
from deploy.grafana.boards.sources import promql


def services() -> Dashboard:
    rows = [
        ("State", [*_state(), *_parts()]),
        ("Requests and decisions", _requests()),
        ("Stream", [*_batches(), *_trouble()]),
        ("Database", _database()),
        ("Processes", _processes()),
        ("Runs, and the model as the evaluator reports it", _model()),
    ]
    about = "What the services do, how fast, what waits and what fails. The time is the wall clock."
    return dashboard("loanloop-services", "loanloop: the services", about, rows).time("now-1h", "now").refresh("15s")


def rate(counter: str, by: str, *, of: str = "") -> str:
    return f"sum by ({by}) (rate({counter}{of}[$__rate_interval]))"


def mean(histogram: str, by: str) -> str:
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def quantile(q: float, histogram: str, by: str) -> str:
    """No line where nothing happened."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', f'le, {by}')})"


def lines(title: str, about: str, *exprs: tuple[str, str], unit: str = "short") -> Series:
    """`exprs`: each with its legend."""
    named = zip("ABCDEFGH", exprs, strict=False)
    return series(title, about, [promql(*expr, ref_id=letter) for letter, expr in named], unit=unit)


def now(title: str, about: str, expr: str, *, unit: str = "short") -> Panel:
    return stat(title, about, promql(expr, instant=True), unit=unit)


def _state() -> list[Panel]:
    firing = 'count(ALERTS{alertstate="firing",alertname!="LoanloopWatchdog"}) or vector(0)'
    free = "min(loanloop_disk_free_bytes / loanloop_disk_size_bytes)"
    return [
        now("Targets up", "What Prometheus reaches: the services, the backup, Alertmanager and itself.", "sum(up)"),
        now("Parts not at work", "Of all services.", "sum(loanloop_part_at_work == bool 0)"),
        now("Alerts firing", "Of Prometheus' rules, but the one that always fires.", firing),
        now("Waiting records", "Of all consumers.", "sum(loanloop_consumer_lag_records)"),
        now("Live deployment", "Its sequence.", "max(loanloop_live_model_deployment_seq)"),
        now("Disk free", "Of the fullest file system that is reported.", free, unit="percentunit"),
    ]


def _parts() -> list[Panel]:
    idle = "sum by (job, part) (loanloop_part_at_work == bool 0)"
    seen = "max by (service, instance) (loanloop_service_heartbeat_age_seconds)"
    return [
        lines("Parts not at work", "One starts, waits, fails, tries again or is stopped.", (idle, "{{job}} {{part}}")),
        lines("Age of the heartbeat", "Of each service's row.", (seen, "{{service}} {{instance}}"), unit="s"),
    ]


def _requests() -> list[Panel]:
    request, decisions = "loanloop_http_request_duration_seconds", "loanloop_decisions_total"
    requests = rate(f"{request}_count", "route, status")
    made = rate(decisions, "channel, version")
    approved = rate(decisions, "version", of='{decision="approve"}') + " / " + rate(decisions, "version")
    scores = [quantile(q, "loanloop_prediction_probability", "job") for q in (0.1, 0.5, 0.9)]
    return [
        lines("Requests", "By route and status.", (requests, "{{route}} {{status}}"), unit="reqps"),
        lines(
            "Time to answer",
            "Half of the requests, and 99 % of them.",
            (quantile(0.5, request, "route"), "{{route}} 50 %"),
            (quantile(0.99, request, "route"), "{{route}} 99 %"),
            unit="s",
        ),
        lines("Decisions", "Stored for the first time.", (made, "{{channel}} {{version}}"), unit="ops"),
        lines("Share approved", "Of the decisions.", (approved, "{{version}}"), unit="percentunit"),
        lines("Scores", "Quantiles.", *zip(scores, ("10 %", "50 %", "90 %"), strict=True), unit="percentunit"),
        lines("Loans not decided", "Of the stream.", (rate("loanloop_loans_skipped_total", "reason"), "{{reason}}")),
    ]


def _batches() -> list[Panel]:
    batch, step = "loanloop_batch_duration_seconds", "loanloop_batch_step_duration_seconds"
    lag = "sum by (group, topic) (loanloop_consumer_lag_records)"
    handled = rate("loanloop_consumer_records_total", "job, consumer")
    consumer = "{{job}} {{consumer}}"
    return [
        lines("Consumer lag", "Records between a log's end and what is done.", (lag, "{{group}} {{topic}}")),
        lines("Records handled", "And committed.", (handled, consumer), unit="ops"),
        lines("Time of a batch", "99 % of them.", (quantile(0.99, batch, "job, consumer"), consumer), unit="s"),
        lines("Time of a batch's steps", "Mean.", (mean(step, "job, step"), "{{job}} {{step}}"), unit="s"),
        lines("Size of a batch", "Mean.", (mean("loanloop_batch_records", "job, consumer"), consumer)),
        lines("Events stored", "By topic.", (rate("loanloop_events_stored_total", "topic"), "{{topic}}"), unit="ops"),
    ]


def _trouble() -> list[Panel]:
    dead = rate("loanloop_dead_letters_total", "job, reason")
    kinds = {
        "batches": "loanloop_batch_failures_total",
        "commits": "loanloop_commit_failures_total",
        "publishings": "loanloop_publish_failures_total",
        "consumers": "loanloop_consumer_restarts_total",
    }
    again = [(rate(counter, "job"), f"{{{{job}}}} {kind}") for kind, counter in kinds.items()]
    waiting = "sum by (job) (loanloop_outbox_rows)"
    today = "max by (reason, field, rule) (loanloop_data_quality_rejected)"
    return [
        lines("Dead letters", "By reason.", (dead, "{{job}} {{reason}}"), unit="ops"),
        lines("Refused today", "The day is UTC, of arrival.", (today, "{{reason}} {{field}} {{rule}}")),
        lines("Tried again", "What failed and is tried again.", *again, unit="ops"),
        lines("Outbox", "Events that wait for Kafka, at the last look.", (waiting, "{{job}}")),
    ]


def _database() -> list[Panel]:
    query = "loanloop_db_query_duration_seconds"
    used = 'sum by (job, instance) (loanloop_db_pool_connections{state="used"})'
    share = f"{used} / sum by (job, instance) (loanloop_db_pool_max_connections)"
    failed = rate("loanloop_db_query_errors_total", "job, query")
    slowest = f"topk(10, {mean(query, 'job, query')})"
    rows = "max by (table) (loanloop_table_rows)"
    size = "max by (table) (loanloop_table_size_bytes)"
    return [
        lines("Queries", "By service.", (rate(f"{query}_count", "job"), "{{job}}"), unit="ops"),
        lines("The ten slowest queries", "Mean by name.", (slowest, "{{job}} {{query}}"), unit="s"),
        lines("Queries that failed", "By name.", (failed, "{{job}} {{query}}"), unit="ops"),
        lines("Connections in use", "Share of the pool.", (share, "{{job}} {{instance}}"), unit="percentunit"),
        lines("Rows by table", "PostgreSQL's own estimate.", (rows, "{{table}}")),
        lines("Size by table", "With its indexes.", (size, "{{table}}"), unit="bytes"),
    ]


def _processes() -> list[Panel]:
    one = "{{job}} {{instance}}"
    delay = quantile(0.99, "loanloop_event_loop_delay_seconds", "job, instance")
    memory = "sum by (job, instance) (process_resident_memory_bytes)"
    free = "min by (job, folder) (loanloop_disk_free_bytes)"
    return [
        lines("Delay of the event loop", "99 % of the timers come no later.", (delay, one), unit="s"),
        lines("Processor", "Cores in use.", (rate("process_cpu_seconds_total", "job, instance"), one)),
        lines("Memory", "Resident.", (memory, one), unit="bytes"),
        lines("Disk free", "Of what is reported.", (free, "{{job}} {{folder}}"), unit="bytes"),
    ]


def _model() -> list[Panel]:
    run = "loanloop_run_duration_seconds"
    progress = "max by (phase) (loanloop_training_progress_ratio)"
    metric = 'max by (version, metric) (loanloop_model_metric{bound="value"})'
    threshold = 'max by (metric) (loanloop_policy_threshold{kind="breach_below"})'
    return [
        lines("Runs ended", "By result.", (rate(f"{run}_count", "kind, result"), "{{kind}} {{result}}"), unit="ops"),
        lines("Time of a run", "Mean.", (mean(run, "kind"), "{{kind}}"), unit="s"),
        lines("Training", "Progress of its phase.", (progress, "{{phase}}"), unit="percentunit"),
        lines(
            "The policy's metric, when it became known",
            "Over the wall clock; over event time it is on the loop's dashboard.",
            (metric, "{{version}} {{metric}}"),
            (threshold, "threshold"),
            unit="percentunit",
        ),
    ]
