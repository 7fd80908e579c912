"""Draw a replay as SVG and PNG. Only this module uses matplotlib, which only the extra `replay` installs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mdcache.replay.run import ReplayResult
from mdcache.replay.sides import SideResult

# the labels and the lines' styles distinguish them without colours, too
_DIRECT, _REST_ONLY, _MDCACHE, _LIMIT = "#c2410c", "#0f766e", "#1d4ed8", "#111827"
_SOFT = "#4b5563"
_SLOT_S = 5
_MINUTE_S = 60
_SIZE_INCHES = (9.0, 6.0)
_DPI = 160


class _Line(NamedTuple):
    """How a side is drawn."""

    side: SideResult
    colour: str
    name: str
    style: str


def draw(replay: ReplayResult, stem: Path) -> tuple[Path, Path]:
    """Write the picture as `stem`.svg and `stem`.png; return their paths. Raises `OSError`."""
    paths = (stem.with_name(stem.name + ".svg"), stem.with_name(stem.name + ".png"))
    figure = make_figure(replay)
    with mpl.rc_context({"svg.hashsalt": "mdcache"}):  # the same run gives the same bytes
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=_DPI)
    return paths


def make_figure(replay: ReplayResult) -> Figure:
    """Return the picture."""
    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
        }
    ):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        load = replay.plan.load
        questions = load.questions // load.rounds
        figure.suptitle(
            f"The incident: {questions} questions for 500 candles every {load.every_s:g} s, without and with mdcache",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        _draw_weight(above, replay)
        _draw_answers(below, replay)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _lines(replay: ReplayResult) -> tuple[_Line, ...]:
    """Return the sides in the order they are drawn: the broken line last, so that one below it is seen."""
    return (
        _Line(replay.direct, _DIRECT, "without mdcache", "-"),
        _Line(replay.mdcache, _MDCACHE, "mdcache with streams", "-"),
        _Line(replay.rest_only, _REST_ONLY, "mdcache, REST only", "--"),
    )


def _draw_weight(axes: Axes, replay: ReplayResult) -> None:
    direct, limit = replay.direct, replay.plan.limit
    seconds = len(direct.used)
    axes.set_title("Weight used in the exchange's minute")
    axes.axhline(limit, color=_LIMIT, linestyle="--", linewidth=1.2)
    ours = int(replay.plan.share * limit)
    axes.axhline(ours, color=_SOFT, linestyle=":", linewidth=1.2)
    for text, weight, colour in ((f"limit {limit:,}", limit, _LIMIT), (f"mdcache may use {ours:,}", ours, _SOFT)):
        end = (seconds, weight)
        axes.annotate(text, end, (-2, 5), textcoords="offset points", color=colour, ha="right")  # above the line
    for side, colour, name, style in _lines(replay):
        axes.plot(range(len(side.used) + 1), (0, *side.used), style, color=colour, linewidth=2.4, label=name)
    if direct.banned_at_s is not None:
        axes.axvspan(direct.banned_at_s, seconds, color=_DIRECT, alpha=0.08, linewidth=0)
        late = direct.banned_at_s > 0.45 * seconds  # there is more room before the ban than after it
        axes.annotate(
            f"429, then 418: banned after {direct.banned_at_s:.0f} s",
            (direct.banned_at_s, limit),
            (-6 if late else 6, 5),
            textcoords="offset points",
            color=_DIRECT,
            ha="right" if late else "left",
        )
    axes.set_ylim(0, 1.15 * max(limit, *(used for line in _lines(replay) for used in line.side.used)))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color="#e5e7eb")
    _mark_minutes(axes, seconds)


def _draw_answers(axes: Axes, replay: ReplayResult) -> None:
    axes.set_title(f"Questions answered with candles, of those asked in {_SLOT_S} s")
    for side, colour, _, style in _lines(replay):
        slots, shares = _shares(side)
        axes.plot(slots, shares, style, color=colour, linewidth=2.4, drawstyle="steps-mid", marker="o", markersize=4)
    axes.set_ylim(-5, 112)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel("seconds of the run", color=_SOFT)
    axes.set_xlim(0, len(replay.direct.used))
    axes.grid(axis="y", color="#e5e7eb")
    _mark_minutes(axes, len(replay.direct.used))


def _mark_minutes(axes: Axes, seconds: int) -> None:
    """Draw a line where each of the exchange's minutes begins; the run begins with one."""
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 6, 10]))
    for start in range(_MINUTE_S, seconds, _MINUTE_S):
        axes.axvline(start, color="#d1d5db", linewidth=1.0, zorder=0)


def _shares(side: SideResult) -> tuple[Sequence[float], Sequence[float]]:
    """Return the middle of each slot with questions, and the percentage of them that was answered."""
    middles, shares = [], []
    for start in range(0, len(side.answered), _SLOT_S):
        answered = sum(side.answered[start : start + _SLOT_S])
        asked = answered + sum(side.refusals[start : start + _SLOT_S])
        if asked:
            middles.append(start + _SLOT_S / 2)
            shares.append(100 * answered / asked)
    return middles, shares
