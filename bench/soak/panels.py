"""Draw a soak: docs/pictures/soak.svg."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.soak.record import Entry, Record
from bench.soak.troubles import START
from bench.soak.verdict import lasting, lives, start_s, weights

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "soak.svg"
COLOURS = ("#1d4ed8", "#0f766e", "#7c3aed")
STYLES = ("-", "--", ":")
_FAULT, _SOFT, _MARKED, _GRID = "#c2410c", "#4b5563", "#c2410c", "#e5e7eb"
_SIZE_INCHES = (9.0, 12.0)


def draw(record: Record, path: Path = PICTURE) -> None:
    """Write the picture. Raises `OSError`."""
    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "svg.hashsalt": "mdcache",
        }
    ):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes: Sequence[Axes] = figure.subplots(7, 1, sharex=True, height_ratios=(2, 2, 2, 2, 2, 2, 7))
        start = next(record.of("start"))
        figure.suptitle(
            f"{start['minutes']:g} minutes of the incident on three replicas, with a fault every 30 s",
            x=0.01, ha="left", fontsize=12, fontweight="bold",
        )  # fmt: skip
        for axis, what, title in zip(
            axes,
            ("rss_mb", "fds", "tasks"),
            ("Memory of each replica, MB (a new line after a restart)", "Descriptors", "Tasks of the event loop"),
            strict=False,
        ):
            _draw_replicas(axis, record, what, title)
        _draw_ages(axes[3], record)
        _draw_weight(axes[4], record, start["allowed"])
        _draw_listeners(axes[5], record)
        _draw_faults(axes[6], record)
        axes[6].set_xlabel("minutes of the run", color=_SOFT)
        axes[6].set_xlim(0, start["minutes"])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _minutes(record: Record, entries: Sequence[Entry]) -> list[float]:
    began_s = start_s(record)
    return [(each["at_s"] - began_s) / 60 for each in entries]


def _titled(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=_GRID)


def _draw_replicas(axes: Axes, record: Record, what: str, title: str) -> None:
    for (name, found), colour, style in zip(lives(record).items(), COLOURS, STYLES, strict=True):
        label = f"{name}, never restarted" if len(found) == 1 else name
        for samples in found:
            known = [each for each in samples if each.get(what)]
            values = [each[what] for each in known]
            axes.plot(_minutes(record, known), values, style, color=colour, linewidth=1.4, label=label)
            label = "_"  # one line of the legend for all lives
    _titled(axes, title)


def _draw_ages(axes: Axes, record: Record) -> None:
    answers = list(record.of("answers"))
    at = _minutes(record, answers)
    axes.plot(at, [each["fresh_age_s"] for each in answers], color=COLOURS[0], linewidth=1.2)
    axes.plot(at, [each["marked_age_s"] or math.nan for each in answers], ".", color=_MARKED, markersize=3)
    axes.axhline(30, color=_SOFT, linestyle=":", linewidth=1)
    _titled(axes, "Oldest answer of 5 s, seconds: unmarked (line), marked (dots; at most 30)")


def _draw_weight(axes: Axes, record: Record, allowed: dict[str, int]) -> None:
    began = start_s(record) / 60
    for (family, minutes), colour, width in zip(
        sorted(weights(record).items(), reverse=True), COLOURS, (0.9, 0.45), strict=False
    ):
        axes.bar([minute + 0.5 - began for minute in minutes], list(minutes.values()), width, color=colour)
        axes.axhline(allowed[family], color=colour, linestyle=":", linewidth=1.2)
        axes.annotate(f"{family}: allowed {allowed[family]:,}", (0, allowed[family]), (4, -11),
                      textcoords="offset points", color=colour)  # fmt: skip
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _titled(axes, "Weight of all replicas together in each UTC minute, as the exchange counted it")


def _draw_listeners(axes: Axes, record: Record) -> None:
    for (_, found), colour, style in zip(lives(record).items(), COLOURS, STYLES, strict=True):
        for samples in found:
            known = [each for each in samples if "listeners" in each]
            axes.plot(
                _minutes(record, known), [each["listeners"] for each in known], style, color=colour, linewidth=1.4
            )
    answers = list(record.of("answers"))
    axes.plot(_minutes(record, answers), [each["connected"] for each in answers], color=_SOFT, linewidth=0.8)
    _titled(axes, "Listeners of each replica, and all that are connected (grey)")


def _draw_faults(axes: Axes, record: Record) -> None:
    """Draw a row for each kind of fault, and beneath them when something was not ready, closed or down."""
    began_s = start_s(record)
    faults = [each for each in record.of("fault") if each["name"] != START]
    names = sorted({each["name"] for each in faults}, key=str.lower, reverse=True)
    for each in faults:
        since, until = ((each[name] - began_s) / 60 for name in ("began_s", "ended_s"))
        axes.barh(names.index(each["name"]) + 1, max(until - since, 0.08), 0.7, since, color=_FAULT)
    troubled = [each for each in record.of("ready") if any(map(lasting, each["troubles"]))]
    axes.plot(_minutes(record, troubled), [0] * len(troubled), "|", color=_SOFT, markersize=6)
    axes.set_yticks(range(len(names) + 1), ["not ready again", *names], fontsize=8)
    axes.set_title("Faults")
    axes.grid(axis="x", color=_GRID)
