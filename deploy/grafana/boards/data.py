"""Data and what drift is seen by: refusals, missing values, features, scores, default share. Event time."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, VariableRefresh

from deploy.grafana.boards import data_sql
from deploy.grafana.boards.event_time import bucket, on_event_time
from deploy.grafana.boards.panels import Panel, bar_chart, dashboard, series, stat, table
from deploy.grafana.boards.sources import POSTGRES, Sql

_SAMPLED = "Of a sample of about 100,000 loans where there are more."


def data() -> Dashboard:
    rows = [
        ("What arrived, of all time", _arrived()),
        ("Loans by time of application", _loans()),
        ("Decisions by the day on which their outcome counts", _decisions()),
    ]
    board = dashboard(
        "loanloop-data",
        "loanloop: data and drift",
        "Refusals, missing values, features, scores. The time is event time.",
        rows,
    )
    board = on_event_time(board).with_variable(bucket())
    board = board.with_variable(_feature("category", "Category", data_sql.CATEGORIES))
    return board.with_variable(_feature("number", "Number", data_sql.NUMBERS))


def _arrived() -> list[Panel]:
    shown = [DynamicConfigValue("unit", "percentunit"), DynamicConfigValue("decimals", 2)]
    missing = table("Missing values by field", "Of all loans.", Sql(data_sql.MISSING), width=9)
    return [
        stat("Events stored", "Counted below a million; above, an estimate.", Sql(data_sql.RECEIVED), width=8),
        stat("Messages refused", "By any service.", Sql(data_sql.REFUSED), width=8),
        stat("Duplicates", "Messages whose event was stored before.", Sql(data_sql.DUPLICATES), width=8),
        table("Refusals by field and rule", "Of the newest 100,000.", Sql(data_sql.REFUSALS), width=15),
        missing.override_by_name("without a value", shown),
    ]


def _loans() -> list[Panel]:
    return [
        series(
            "Values of $category",
            f"Share of the ten most frequent values. {_SAMPLED}",
            [Sql(data_sql.CATEGORY_SHARES, "time_series")],
            unit="percentunit",
            bars=StackingMode.NORMAL,
        ).max(1),
        series("$number", f"Quantiles. {_SAMPLED}", [Sql(data_sql.NUMBER_QUANTILES, "time_series")]),
        series(
            "Share of defaults among loans with an outcome",
            f"History too. {_SAMPLED}",
            [Sql(data_sql.DEFAULT_SHARE, "time_series")],
            unit="percentunit",
            width=24,
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        series(
            "Scores",
            "Probabilities of default, by fifths.",
            [Sql(data_sql.SCORES_BY_TIME, "time_series")],
            bars=StackingMode.PERCENT,
        ),
        series(
            "Defaulted and declined",
            "Share of the decided loans with an outcome.",
            [Sql(data_sql.SHARES_BY_TIME, "time_series")],
            unit="percentunit",
        ),
        bar_chart(
            "Scores of the newest decisions",
            "The newest 10,000, whether their outcome is known or not; by twentieths.",
            Sql(data_sql.NEWEST_SCORES),
            x="from",
            width=24,
        ),
    ]


def _feature(name: str, label: str, sql: str) -> QueryVariable:
    variable = QueryVariable(name).label(label).datasource(POSTGRES).query(sql.strip()).definition(sql.strip())
    return variable.refresh(VariableRefresh.ON_DASHBOARD_LOAD)
