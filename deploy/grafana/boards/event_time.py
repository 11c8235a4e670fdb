"""What the dashboards of event time share: their range and the width of their bars."""

from grafana_foundation_sdk.builders.dashboard import CustomVariable, Dashboard, DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, VariableOption

# Of the shipped sample of loans. Loans of today are seen by the links beside the title.
FIRST, LAST = "2002-01-01T00:00:00Z", "2010-01-01T00:00:00Z"


def on_event_time(board: Dashboard) -> Dashboard:
    board = board.time(FIRST, LAST).refresh("30s")
    for title, since in (("Last 90 days", "now-90d"), ("Last 2 years", "now-2y")):
        board = board.link(_range(title, since, "now"))
    return board.link(_range("2002 to 2009", FIRST, LAST))


def _range(title: str, first: str, last: str) -> DashboardLink:
    link = DashboardLink(title).type(DashboardLinkType.LINK).icon("bolt").include_vars(True).keep_time(False)
    return link.url(f"?from={first}&to={last}")


def bucket() -> CustomVariable:
    """How wide a bar of the charts of loans is; metrics are by day, as they are judged."""
    chosen = VariableOption(text="month", value="month", selected=True)
    return CustomVariable("bucket").label("Bars by").values("day,week,month,quarter,year").current(chosen)
