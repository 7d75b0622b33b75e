"""An architecture's values reach every configuration."""

from __future__ import annotations

import pytest
from fairseq.dataclass.configs import FairseqConfig
from fairseq_cli import train
from omegaconf import OmegaConf

import tiednmt.plugin  # noqa: F401


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("tied_gru_tiny", (128, 64)),
        ({"_name": "tied_gru_tiny", "encoder_hidden_size": 7}, (128, 7)),
        ({"_name": "tied_gru"}, (256, 128)),
    ],
)
def test_hydra_heeds_the_values_of_an_architecture(model, sizes):
    """fairseq gave the model's defaults to whatever was left out."""
    cfg = OmegaConf.create({**OmegaConf.to_container(OmegaConf.structured(FairseqConfig()))})
    cfg.model = model
    train.add_defaults(cfg)
    assert (cfg.model.embed_dim, cfg.model.encoder_hidden_size) == sizes
