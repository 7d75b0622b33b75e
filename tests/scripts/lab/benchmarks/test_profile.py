"""Parts of an update."""

from __future__ import annotations

from scripts.lab.benchmarks.profile import Stopwatch


def test_parts_do_not_count_what_is_inside_them():
    now = [0.0]
    watch = Stopwatch(clock=lambda: now[0])

    def work(seconds, inner=lambda: None):
        now[0] += seconds
        inner()
        now[0] += seconds

    inner = watch.timed("backward", work)
    now[0] += 3
    watch.timed("forward", work)(5, lambda: inner(2))
    watch.turn()
    spent = {part: seconds for part, seconds in watch.seconds.items() if seconds}
    assert spent == {"rest": 3, "forward": 10, "backward": 4}
