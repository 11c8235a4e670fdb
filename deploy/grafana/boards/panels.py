"""The few kinds of panels, and how they become a dashboard. What a panel rests on is said in its description."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders.barchart import Panel as BarChart
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Series
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DynamicConfigValue,
    FieldColorModeId,
)
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel

from deploy.grafana.boards.sources import POSTGRES, PROMETHEUS, Sql

Target = Builder[Dataquery]
Panel = Series | Stat | Table | BarChart
TAG = "loanloop"


def series(
    title: str,
    description: str,
    targets: Sequence[Target],
    *,
    unit: str = "short",
    width: int = 12,
    height: int = 8,
    bars: common.StackingMode | None = None,
) -> Series:
    """Lines; with `bars`, bars stacked that way."""
    panel = Series().title(title).description(description).unit(unit).span(width).height(height).min(0)
    panel = panel.datasource(_source_of(targets)).targets(list(targets))
    panel = panel.legend(_legend()).tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    panel = panel.fill_opacity(60 if bars else 0).show_points(common.VisibilityMode.AUTO)
    panel = panel.draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
    return panel.stacking(StackingConfig().mode(bars)) if bars else panel


def _legend() -> VizLegendOptions:
    shown = common.LegendDisplayMode.LIST
    return VizLegendOptions().show_legend(True).display_mode(shown).placement(common.LegendPlacement.BOTTOM)


def stat(title: str, description: str, target: Target, *, unit: str = "short", width: int = 4) -> Stat:
    """The newest value; of a query to PostgreSQL the one cell, a text as well as a number."""
    panel = Stat().title(title).description(description).unit(unit).span(width).height(4)
    panel = panel.datasource(_source_of([target])).targets([target]).color_mode(common.BigValueColorMode.NONE)
    # Without `fields` a text is no value.
    shown = ReduceDataOptions().calcs(["lastNotNull"]).fields("/.*/")
    return panel.graph_mode(common.BigValueGraphMode.NONE).reduce_options(shown)


def table(title: str, description: str, target: Target, *, width: int = 24, height: int = 8) -> Table:
    panel = Table().title(title).description(description).span(width).height(height)
    return panel.datasource(_source_of([target])).targets([target])


def bar_chart(
    title: str, description: str, target: Target, *, x: str, unit: str = "short", width: int = 12
) -> BarChart:
    panel = BarChart().title(title).description(description).unit(unit).span(width).height(8).min(0)
    return panel.datasource(_source_of([target])).targets([target]).x_field(x)


def dashed(panel: Series, name: str, color: str) -> Series:
    """A series that is a limit rather than a figure."""
    style = [
        DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": color}),
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
        DynamicConfigValue("custom.showPoints", common.VisibilityMode.NEVER),
    ]
    return panel.override_by_name(name, style)


def band(panel: Series, lower: str, upper: str) -> Series:
    """The area between two series, without lines."""
    faint = [
        DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": "gray"}),
        DynamicConfigValue("custom.lineWidth", 0),
        DynamicConfigValue("custom.showPoints", common.VisibilityMode.NEVER),
    ]
    between = [DynamicConfigValue("custom.fillBelowTo", lower), DynamicConfigValue("custom.fillOpacity", 15)]
    return panel.override_by_name(upper, [*faint, *between]).override_by_name(lower, faint)


def dashboard(uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> Dashboard:
    """`rows`: headings with their panels, which fill lines of 24 columns."""
    board = Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("utc").readonly()
    board = board.tooltip(DashboardCursorSync.CROSSHAIR).version(1).link(_siblings())
    number = 0
    for heading, panels in rows:
        number += 1
        board = board.with_row(Row(heading).id(number))
        for panel in panels:
            number += 1
            board = board.with_panel(_numbered(panel, number))
    return board


def _siblings() -> DashboardLink:
    return DashboardLink("loanloop").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(False)


def _numbered(panel: Panel, number: int) -> Builder[PanelModel]:
    return panel.id(number)


def _source_of(targets: Sequence[Target]) -> common.DataSourceRef:
    return POSTGRES if isinstance(targets[0], Sql) else PROMETHEUS
