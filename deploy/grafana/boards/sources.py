"""The two data sources, by the uids under which provisioning/datasources makes them, and a query to each."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="loanloop-prometheus")
POSTGRES = DataSourceRef(type_val="grafana-postgresql-datasource", uid="loanloop-postgres")


@dataclass
class SqlQuery(Dataquery):
    """The SDK has no builder for PostgreSQL; these are the fields that its editor saves."""

    sql: str
    format_val: str
    ref_id: str

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": POSTGRES,
            "editorMode": "code",
            "format": self.format_val,
            "rawQuery": True,
            "rawSql": self.sql.strip(),
        }


@dataclass
class Sql(Builder[Dataquery]):
    """`time_series`: columns `time`, numbers, and `metric` where its texts name the series."""

    sql: str
    format_val: str = "table"
    ref_id: str = "A"

    def build(self) -> Dataquery:
        return SqlQuery(self.sql, self.format_val, self.ref_id)


def promql(expr: str, legend: str = "", *, ref_id: str = "A", instant: bool = False) -> PrometheusQuery:
    query = PrometheusQuery().expr(expr).legend_format(legend).ref_id(ref_id).datasource(PROMETHEUS)
    return query.instant() if instant else query.range()
