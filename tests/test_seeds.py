"""Mean and spread over seeds."""

from dataclasses import asdict

import numpy as np
import pytest

from tiednmt.seeds import (
    SeedStatistics,
    interval_of_mean,
    mean_and_sd,
    over_seeds,
    pooled,
)


def test_sample_standard_deviation():
    values = [114.2, 115.1, 113.8, 114.9]
    figure = over_seeds(values)
    assert figure.mean == pytest.approx(np.mean(values), abs=1e-4)
    assert figure.sd == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert figure.seeds == 4


def test_one_seed_has_no_spread():
    assert over_seeds([35.89]) == SeedStatistics(mean=35.89, sd=None, seeds=1)


@pytest.mark.parametrize("first", [1, 2, 4])
def test_pooled_seeds_are_as_if_taken_together(first):
    values = [102.4, 101.1, 103.7, 100.2, 104.0]
    found = pooled(over_seeds(values[:first]), over_seeds(values[first:]))
    assert asdict(found) == pytest.approx(asdict(over_seeds(values)), abs=2e-4)


def test_text():
    assert mean_and_sd(over_seeds([35.887]), places=2) == "35.89"
    assert mean_and_sd(over_seeds([100.0, 101.0]), places=1) == "100.5 ± 0.7"


def test_interval_of_the_mean():
    """Student's t for two degrees of freedom is 4.3027 at 97.5%."""
    low, high = interval_of_mean(over_seeds([114.0, 115.0, 114.5]))
    half = 4.3027 * 0.5 / 3**0.5
    assert (low, high) == pytest.approx((114.5 - half, 114.5 + half), abs=1e-3)
    assert interval_of_mean(over_seeds([114.0])) is None
