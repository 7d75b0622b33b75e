"""Two sides in turn; no test looks at a time."""

from __future__ import annotations

from scripts.lab.benchmarks.compare import Measured, Side, compare


def test_sides_run_in_turn_and_the_first_pair_is_not_counted():
    order = []

    def side(name, speeds, memory):
        remaining = iter(speeds)

        def measure():
            order.append(name)
            return Measured(next(remaining), memory)

        return Side(name, measure)

    found = compare(side("a", [9, 30, 20, 40], 50), side("b", [1, 10, 10, 10], 200), runs=3)
    assert order == ["a", "b"] * 4
    assert found["ours"] == {"name": "a", "median": 30, "runs": [30, 20, 40], "memory": 50}
    assert found["ratio"] == {"median": 3, "min": 2, "max": 4}
    assert found["memory_ratio"] == {"median": 0.25, "min": 0.25, "max": 0.25}
