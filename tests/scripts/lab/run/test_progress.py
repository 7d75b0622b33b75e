"""What one sees of a training."""

import itertools

from scripts.lab.run.progress import Progress


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_there_are_a_few_whole_lines(capsys):
    clock = itertools.count()
    progress = Progress("none", 1000, clock=lambda: float(next(clock)))
    for updates in range(10, 1001, 10):
        progress.update(updates, 1000, "12.3")
    progress.update(1000, 1000, "12.3")
    progress.close()
    told = lines(capsys)
    assert told[0].startswith("none: 10 of 1,000 updates, perplexity 12.3, ")
    assert told[-1].startswith("none: 1,000 of 1,000 updates")
    assert len(told) == 6  # the first, every fifth of the whole, the last
    assert not any("\r" in line for line in told)


def test_a_slow_training_says_that_it_lives(capsys):
    now = [0.0]
    progress = Progress("none", None, clock=lambda: now[0])
    for updates, now[0] in ((1, 1.0), (2, 200.0), (3, 302.0), (4, 310.0)):
        progress.update(updates, 1000, "9")
    assert [line.split()[1] for line in lines(capsys)] == ["1", "3"]


def test_in_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress("three-way", 100)
    progress.update(50, 100, "9.5")
    progress.close()
    shown = capsys.readouterr().err
    assert "three-way:  50%" in shown and "ppl=9.5" in shown
