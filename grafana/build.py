"""A `Board` as Grafana's JSON, by Grafana's own SDK; the only module that knows it."""

import json
from itertools import count
from typing import assert_never

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models
from grafana_foundation_sdk.models.common import DataSourceRef

from grafana.model import Board, Kind, Panel, Query, Variable

_SOURCE = DataSourceRef("prometheus", "${datasource}")
_DASHED = {"fill": "dash", "dash": [10, 10]}
_Builder = timeseries.Panel | stat.Panel | statetimeline.Panel


def to_json(board: Board) -> str:
    """The file's text."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["mdcache"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("utc")  # Binance's minutes are UTC's
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .link(dashboard.DashboardLink("mdcache").type(models.DashboardLinkType.DASHBOARDS).tags(["mdcache"]))
        .annotation(_marks(board.marks))
    )
    for variable in board.variables:
        built = built.with_variable(_variable(variable))
    numbers = count(1)
    for section in board.sections:
        built = built.with_row(dashboard.Row(section.title).id(next(numbers)))
        for panel in section.panels:
            built = built.with_panel(_panel(panel).id(next(numbers)))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def values_query(variable: Variable) -> str:
    """What Grafana asks Prometheus for a variable's choices."""
    return f"label_values({variable.selector}, {variable.label})"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.name)
        .datasource(_SOURCE)
        .query(values_query(variable))
        .definition(values_query(variable))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )


def _marks(query: Query) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("closures of gates")
        .datasource(_SOURCE)
        .enable(enable=True)
        .hide(hide=False)
        .icon_color("red")
        .expr(query.expr)
        .title_format(query.legend)
        .step("15s")
    )


def _panel(panel: Panel) -> _Builder:
    built = _of_kind(panel).title(panel.title).datasource(_SOURCE).unit(panel.unit)
    built = built.span(panel.width).height(panel.height)
    if panel.about:
        built = built.description(panel.about)
    if panel.least is not None:
        built = built.min(panel.least)
    if panel.most is not None:
        built = built.max(panel.most)
    for place, query in enumerate(panel.queries):
        built = built.with_target(_target(query, chr(ord("A") + place), instant=panel.kind is Kind.NUMBER))
        if query.bound:
            built = built.override_by_name(query.legend, [models.DynamicConfigValue("custom.lineStyle", _DASHED)])
    return built


def _of_kind(panel: Panel) -> _Builder:
    match panel.kind:
        case Kind.NUMBER:
            return _number(panel)
        case Kind.STATES:
            return _states(panel)
        case Kind.LINES | Kind.STACKED:
            return _lines(stacked=panel.kind is Kind.STACKED)
        case _:
            assert_never(panel.kind)


def _number(panel: Panel) -> stat.Panel:
    built = (
        stat.Panel()
        .no_value("none")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
    )
    steps = [models.Threshold(value=step.value, color=step.color) for step in panel.steps]
    return built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))


def _states(panel: Panel) -> statetimeline.Panel:
    texts = {
        str(state.value): models.ValueMappingResult(text=state.text, color=state.color, index=place)
        for place, state in enumerate(panel.states)
    }
    return (
        statetimeline.Panel()
        .mappings([models.ValueMap(texts)])
        .show_value(common_models.VisibilityMode.AUTO)
        .fill_opacity(70)
        .line_width(0)
        .legend(_legend())
    )


def _lines(*, stacked: bool) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
        .legend(_legend())
    )
    if not stacked:
        return built
    return built.fill_opacity(40).stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )


def _target(query: Query, name: str, *, instant: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(name)
        .exemplar(exemplar=False)
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
    )
    return target.instant() if instant else target.range()
