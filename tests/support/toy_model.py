"""A small architecture that is not in the package: what a new one has to offer, and gets."""

from dataclasses import dataclass, field

import torch
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, register_model
from torch import nn

from tiednmt.models.tied_model import (
    SteppingDecoder,
    TiedModel,
    TiedModelConfig,
    embeddings_of,
    lookup_scale_of,
    select_sentences,
)
from tiednmt.modules.dropout import Dropout
from tiednmt.modules.linear import linear
from tiednmt.search.stepper import StepOutput
from tiednmt.tying import Embeddings


@dataclass
class ToyConfig(TiedModelConfig):
    embed_dim: int = field(default=8)
    dropout: float = field(default=0.1)


class ToyEncoder(FairseqEncoder):
    def __init__(self, dictionary, embedding, cfg):
        super().__init__(dictionary)
        self.embedding, self.dropout = embedding, Dropout(cfg.dropout, "ToyEncoder")
        self.input_scale = lookup_scale_of(cfg, dictionary)

    def forward(self, src_tokens, src_lengths, **_):
        kept = src_tokens.ne(self.dictionary.pad()).unsqueeze(2)
        embedded = self.input_scale(self.embedding(src_tokens), src_tokens)
        return {"sum": [(self.dropout(embedded) * kept).sum(1)]}

    def reorder_encoder_out(self, encoder_out, new_order):
        return select_sentences(encoder_out, new_order)


class ToyDecoder(SteppingDecoder):
    """The state is a pair: a running sum of the tokens, and the number of them."""

    def __init__(self, dictionary, embeddings, cfg):
        super().__init__(dictionary, embeddings)
        self.input_scale = lookup_scale_of(cfg)
        self.mixed, self.dropout = nn.Linear(cfg.embed_dim, cfg.embed_dim), Dropout(cfg.dropout)

    def start(self, encoder_out):
        source = encoder_out["sum"][0].unsqueeze(1)
        return source, (torch.zeros_like(source), torch.zeros_like(source[..., :1]))

    def step(self, tokens, memory, state, position):
        total, count = state[0] / 2 + self.input_scale(self.embedding(tokens)), state[1] + 1
        mixed = linear(self.mixed, torch.tanh(total + memory) / count)
        return StepOutput(self.dropout(mixed), (total, count), None)


@register_model("tied_toy", dataclass=ToyConfig)
class ToyModel(TiedModel, FairseqEncoderDecoderModel):
    @classmethod
    def build(cls, cfg, source, target):
        tied = embeddings_of(cfg, source, target, cfg.embed_dim)
        encoder = ToyEncoder(source, tied.source, cfg)
        model = cls(encoder, ToyDecoder(target, tied, cfg))
        model.complete(cfg, source, target)
        return model

    embeddings = property(
        lambda self: Embeddings(self.encoder.embedding, self.decoder.embedding, self.decoder.output)
    )
    stepper = property(lambda self: self.decoder)
