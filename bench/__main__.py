"""Everything that is measured in minutes: `make bench`.

    python -m bench

First what `docs/performance.md` shows (`bench/performance.py`), which is written. Then the longest the loop was held
while pages are read, and what the frames of streams cost (`bench/frames.py`).
"""

from bench import frame_sockets, frames, performance
from bench.loop import longest_step_ms


def loop_held() -> None:
    """The longest single step of the loop while 20 pages a second are checked and merged."""
    median, worst = longest_step_ms()
    print(f"loop held by page  median {median:.2f} ms   worst {worst:.2f} ms of 200 pages of 1,000 rows (aim 5)")


def main() -> None:
    performance.main()
    loop_held()
    frames.report()
    frame_sockets.report()


if __name__ == "__main__":
    main()
