"""What happens around an update of the weights."""

from __future__ import annotations

import math

import pytest
import torch
from fairseq.dataclass.configs import EMAConfig
from fairseq.models.ema.ema import EMA

import tiednmt.plugin  # noqa: F401
from tests.support.small_models import model


@pytest.mark.parametrize("fp32", [False, True])
def test_a_scale_that_is_not_learned_stays_in_an_average(fp32, caplog):
    """The mean of equal numbers is rounded, and again in each update."""
    caplog.set_level("INFO")
    built = model(dtype=torch.float32, input_scale="sqrt-dim")
    average = EMA(built, EMAConfig(store_ema=True, ema_decay=0.9999, ema_fp32=fp32))
    for update in range(1, 301):
        average.step(built, update)
    scale = average.get_model().encoder.input_scale.value
    assert scale == pytest.approx(math.sqrt(6), rel=1e-7)
    if fp32:
        (stored,) = {float(v) for n, v in average.fp32_params.items() if n.endswith("constant")}
        assert stored == pytest.approx(math.sqrt(6), rel=1e-7)
    assert "lookups are scaled" not in caplog.text
