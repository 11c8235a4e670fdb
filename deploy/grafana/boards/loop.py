"""The loop: loans, the policy's metric against its threshold, versions, trainings, breaches, alerts. Event time."""

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from deploy.grafana.boards import loop_sql
from deploy.grafana.boards.event_time import bucket, on_event_time
from deploy.grafana.boards.panels import Panel, band, dashboard, dashed, series, stat, table
from deploy.grafana.boards.sources import POSTGRES, Sql

_ESTIMATE = "Counted below a million; above, PostgreSQL's own estimate."


def loop() -> Dashboard:
    rows = [
        ("Now", _now()),
        ("By day of event time", [_metric(), _figures(), _outcomes(), _loans()]),
        ("Versions and what led to them", _tables()),
    ]
    board = dashboard("loanloop-loop", "loanloop: the loop", "Loans, metric, versions. The time is event time.", rows)
    board = board.annotation(_marks("deployments", loop_sql.DEPLOYED, "blue"))
    board = board.annotation(_marks("breaches", loop_sql.BREACHED, "red"))
    return on_event_time(board).with_variable(bucket())


def _now() -> list[Panel]:
    return [
        stat("Live version", "What decides loans now.", Sql(loop_sql.LIVE)),
        stat("Open breach", "The live version's metric has fallen below the threshold.", Sql(loop_sql.BREACH)),
        stat("Newest training", "Its state; while it runs, its phase.", Sql(loop_sql.TRAINING)),
        stat("Loans stored", _ESTIMATE, Sql(loop_sql.STORED)),
        stat("Decisions", _ESTIMATE, Sql(loop_sql.DECIDED)),
        stat("Loans with an outcome", _ESTIMATE, Sql(loop_sql.LABELLED)),
        _span(),
    ]


def _span() -> Panel:
    """The dashboard's own range may not be that of these loans: a click on a date goes there."""
    panel = table("Event time of the loans here", "A click on a date shows the time around it.", Sql(loop_sql.SPAN))
    url = "/d/loanloop-loop?time=${__value.numeric}&time.window=31536000000"
    link = {"title": "The year around it", "url": url}
    return panel.override_by_field_type("time", [DynamicConfigValue("links", [link])]).height(4)


def _metric() -> Panel:
    panel = series(
        "The policy's metric against its threshold",
        "F1 or ROC-AUC, as the policy says, over the window that ends on the day, with its interval. A breach opens "
        "when the upper bound stays below the threshold. No line: too few outcomes.",
        [
            Sql(loop_sql.METRIC_BY_VERSION, "time_series"),
            Sql(loop_sql.METRIC_BOUNDS, "time_series", ref_id="B"),
        ],
        unit="percentunit",
        width=24,
        height=10,
    )
    return dashed(band(panel, "lower", "upper"), "threshold", "red").max(1)


def _figures() -> Panel:
    return series(
        "Figures of the same window",
        "Of the version that was trained last, where two have outcomes on a day.",
        [Sql(loop_sql.WINDOW_FIGURES, "time_series")],
        unit="percentunit",
        width=24,
    ).max(1)


def _outcomes() -> Panel:
    return series(
        "Decided loans by the day on which their outcome counts",
        "Of all versions together.",
        [Sql(loop_sql.OUTCOMES_BY_DAY, "time_series")],
        bars=StackingMode.NORMAL,
    )


def _loans() -> Panel:
    return series(
        "Loans by time of application",
        "Exact up to 200,000 loans; above, estimated from a sample of that many.",
        [Sql(loop_sql.LOANS_BY_TIME, "time_series")],
        bars=StackingMode.NORMAL,
    )


def _tables() -> list[Panel]:
    runs = table("Trainings", "The newest 50.", Sql(loop_sql.RUNS))
    return [
        table("Deployments", "The newest 50, on both clocks.", Sql(loop_sql.DEPLOYMENTS)),
        table("Versions", "The newest 50 with their newest verdict.", Sql(loop_sql.VERSIONS)),
        runs.override_by_name("duration", [DynamicConfigValue("unit", "s")]),
        table("Breaches", "The newest 50.", Sql(loop_sql.BREACHES), width=12),
        table("Alerts", "The newest 50.", Sql(loop_sql.ALERTS), width=12),
    ]


def _marks(name: str, sql: str, color: str) -> AnnotationQuery:
    marks = AnnotationQuery().name(name).enable(True).icon_color(color).datasource(POSTGRES)
    return marks.target(Sql(sql, ref_id="Anno"))
