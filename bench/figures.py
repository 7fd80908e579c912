"""Print how measured values are spread."""

from collections.abc import Sequence


def spread(values: Sequence[float], unit: str) -> str:
    """Return median, 99th percentile and worst of `values`."""
    if not values:
        return "none"
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {ordered[len(ordered) // 2]:,.0f} {unit}, p99 {p99:,.0f} {unit}, worst {ordered[-1]:,.0f} {unit}"
