"""The base of translation models: the three matrices, lookups, and the stepper for the search."""

from typing import Any, NamedTuple

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel
from torch import Tensor, nn

from tiednmt.models.stepping_decoder import SteppingDecoder
from tiednmt.models.tied_model import TiedModel
from tiednmt.modules.lookup import LookupScale
from tiednmt.modules.packing import restore_columns
from tiednmt.tying import Embeddings

EncoderOut = dict[str, list[Tensor]]


class TiedEncoderDecoderModel(TiedModel, FairseqEncoderDecoderModel):
    """A model of a :class:`TiedEncoder` and a :class:`SteppingDecoder`."""

    @property
    def embeddings(self) -> Embeddings:
        """The three matrices, as tied."""
        return Embeddings(self.encoder.embedding, self.decoder.embedding, self.decoder.output)

    @property
    def stepper(self) -> SteppingDecoder:
        """The decoder."""
        decoder: SteppingDecoder = self.decoder
        return decoder


class TiedEncoder(FairseqEncoder):
    """Looks up source tokens. The first dimension of all its outputs is that of sentences.

    Args:
        dictionary: of the source language.
        embedding: of source tokens.
        input_scale: the operations on looked-up rows.
        max_source_positions: longest source sentence, in subword units.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embedding: nn.Embedding,
        input_scale: LookupScale,
        max_source_positions: int = 1024,
    ) -> None:
        super().__init__(dictionary)
        self.embedding = embedding
        self.input_scale = input_scale
        self.max_source_positions = max_source_positions

    def look_up(self, tokens: Tensor) -> Tensor:
        """Source tokens as the layers read them, … × dim."""
        embedded: Tensor = self.input_scale(self.embedding(tokens), tokens)
        return embedded

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """Select and order sentences, for fairseq's beam search."""
        return select_sentences(encoder_out, new_order)

    def max_positions(self) -> int:
        """Longest source sentence, in subword units."""
        return self.max_source_positions


def select_sentences(encoder_out: EncoderOut, order: Tensor) -> EncoderOut:
    """The output of an encoder for these sentences, in this order."""
    return {
        name: [tensor.index_select(0, order) for tensor in tensors]
        for name, tensors in encoder_out.items()
    }


class Sources(NamedTuple):
    """The memory of a decoder's steps: the sources that a step attends to.

    Attributes:
        attended: keys, values and the like, in the form that the decoder's attention takes.
        columns: B × S, the column of each token in the source as given; None if none was moved.
    """

    attended: Any
    columns: Tensor | None

    @classmethod
    def of(cls, encoder_out: EncoderOut, attended: Any) -> "Sources":
        """Sources whose padding an encoder moved to the right, with :func:`move_padding_right`."""
        padding = encoder_out["padding"][0]
        # a GPU is not asked whether it moved any, since the answer would have to be waited for
        moved = padding.device.type != "cpu" or bool(padding.any())
        return cls(attended, encoder_out["columns"][0] if moved else None)

    def as_given(self, attention: Tensor) -> Tensor:
        """Attention over the columns of the source as it was given."""
        return attention if self.columns is None else restore_columns(attention, self.columns)
