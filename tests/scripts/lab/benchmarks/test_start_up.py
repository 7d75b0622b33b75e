"""What is measured of a start-up: from the command to the line of the first update."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scripts.lab.benchmarks import start_up

UPDATE = '2026-01-01 12:00:00 | INFO | train_inner | {"epoch": 1, "loss": "8.7"}\n'


def test_it_ends_with_the_first_update(tmp_path, monkeypatch):
    """Neither with a line before it nor with the next update or the end of the process."""
    now, commands = [100.0], []

    def run_module(module, threads, log, *, on_line):
        commands.append(module)
        for seconds, line in ((2.0, "2026-01-01 12:00:00 | INFO | train | {}\n"), (3.0, UPDATE)):
            now[0] += seconds
            on_line(line)
        now[0] += 7.0
        on_line(UPDATE)
        now[0] += 11.0

    monkeypatch.setattr(start_up, "run_module", run_module)
    monkeypatch.setattr(start_up, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    (tmp_path / "data-bin").mkdir()
    options = start_up.StartUp(data=tmp_path)
    measured = start_up._start_ups(options.stock_recipe(), options)
    assert 60 / measured.rate == pytest.approx(2.0 + 3.0)
    (command,) = commands
    assert command[command.index("--max-update") + 1] == "1"
