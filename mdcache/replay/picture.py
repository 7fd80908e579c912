"""Draw a replay as SVG and PNG. Only this module uses matplotlib, which only the extra `replay` installs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdcache.replay.run import ReplayResult, SideResult

_DIRECT, _MDCACHE, _LIMIT = "#c2410c", "#1d4ed8", "#111827"  # the labels distinguish them without colours, too
_SOFT = "#4b5563"
_SLOT_S = 5
_SIZE_INCHES = (9.0, 6.0)
_DPI = 160


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
            f"The incident: {questions} questions for 500 candles every {load.every_s:g} s, with and without mdcache",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        _draw_weight(above, replay)
        _draw_answers(below, replay)
    return figure


def _draw_weight(axes: Axes, replay: ReplayResult) -> None:
    direct, mdcache, limit = replay.direct, replay.mdcache, replay.plan.limit
    axes.set_title("Weight used in the exchange's minute")
    axes.axhline(limit, color=_LIMIT, linestyle="--", linewidth=1.2)
    axes.annotate(f"limit {limit:,}", (0, limit), (2, 4), textcoords="offset points", color=_LIMIT)
    ours = int(replay.plan.share * limit)
    axes.axhline(ours, color=_MDCACHE, linestyle=":", linewidth=1.2)
    axes.annotate(
        f"mdcache may use {ours:,}",
        (len(mdcache.used), ours),
        (-2, 4),  # above the line, at its end, where no curve is
        textcoords="offset points",
        color=_MDCACHE,
        ha="right",
    )
    for side, colour, name in ((direct, _DIRECT, "without mdcache"), (mdcache, _MDCACHE, "with mdcache")):
        axes.plot(range(len(side.used) + 1), (0, *side.used), color=colour, linewidth=2.4, label=name)
    if direct.banned_at_s is not None:
        axes.axvspan(direct.banned_at_s, len(direct.used), color=_DIRECT, alpha=0.12, linewidth=0)
        late = direct.banned_at_s > len(direct.used) / 2  # there is more room before the ban than after it
        axes.annotate(
            f"429, then 418:\nbanned after {direct.banned_at_s:.0f} s",
            (direct.banned_at_s, limit / 4),
            (-6 if late else 6, 0),
            textcoords="offset points",
            color=_DIRECT,
            ha="right" if late else "left",
        )
    axes.set_ylim(0, 1.15 * max(limit, *direct.used, *mdcache.used))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, frameon=False)  # beside the title
    axes.grid(axis="y", color="#e5e7eb")


def _draw_answers(axes: Axes, replay: ReplayResult) -> None:
    axes.set_title(f"Questions answered with candles, of those asked in {_SLOT_S} s")
    for side, colour in ((replay.direct, _DIRECT), (replay.mdcache, _MDCACHE)):
        slots, shares = _shares(side)
        axes.plot(slots, shares, color=colour, linewidth=2.4, drawstyle="steps-mid", marker="o", markersize=4)
    axes.set_ylim(-5, 112)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel("seconds of the run", color=_SOFT)
    axes.set_xlim(0, len(replay.direct.used))
    axes.grid(axis="y", color="#e5e7eb")


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
