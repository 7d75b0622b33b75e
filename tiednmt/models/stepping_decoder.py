"""Decoders of one input embedding and one output layer, and those written as a single step."""

from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor

from tiednmt.modules.packing import columns_of_steps
from tiednmt.search.stepper import StepOutput, Tree, keep
from tiednmt.tying import Embeddings

IncrementalState = dict[str, dict[str, Any]]


class TiedDecoder(FairseqIncrementalDecoder):
    """A decoder of features, which the output layer turns into scores.

    Args:
        dictionary: of the target language.
        embeddings: of the model.
        max_target_positions: longest target sentence, in subword units.
    """

    def __init__(
        self, dictionary: Dictionary, embeddings: Embeddings, max_target_positions: int = 1024
    ) -> None:
        super().__init__(dictionary)
        self.embedding = embeddings.target
        self.output = embeddings.output
        self.max_target_positions = max_target_positions

    def forward(
        self, prev_output_tokens: Tensor, *args: Any, features_only: bool = False, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B × T × vocabulary), or features if ``features_only``.

        The other arguments and the second value are those of ``extract_features``.
        """
        features, extra = self.extract_features(prev_output_tokens, *args, **kwargs)
        return (features if features_only else self.output_layer(features)), extra

    def output_layer(self, features: Tensor, **_: Any) -> Tensor:
        """Scores (… × vocabulary) of features (… × dim)."""
        return self.output(features)

    def max_positions(self) -> int:
        """Longest target sentence, in subword units."""
        return self.max_target_positions


class SteppingDecoder(TiedDecoder):
    """A decoder that is a :class:`Stepper`.

    Its steps also serve fairseq's incremental decoding and training; for training, a subclass can
    override :meth:`decode` with something faster.
    """

    def start(self, encoder_out: Any) -> tuple[Tree, Tree]:
        """See :class:`Stepper`."""
        raise NotImplementedError

    def step(self, tokens: Tensor, memory: Tree, state: Tree, position: int) -> StepOutput:
        """See :class:`Stepper`."""
        raise NotImplementedError

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any,
        incremental_state: IncrementalState | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Features (B × T × dim), and ``attn``: B × T × S over the columns of the source, or None.

        With ``incremental_state`` only the last column of ``prev_output_tokens`` (B × T) is run.
        """
        if incremental_state is None:
            features, attention = self.decode(prev_output_tokens, encoder_out)
        else:
            features, attention = self._run_step(prev_output_tokens, encoder_out, incremental_state)
        return features, {"attn": attention}

    def decode(self, prev_output_tokens: Tensor, encoder_out: Any) -> tuple[Tensor, Tensor | None]:
        """Features (B × T × dim) and attention (B × T × S) of whole targets (B × T)."""
        memory, state = self.start(encoder_out)
        columns = columns_of_steps(prev_output_tokens.ne(self.dictionary.pad()))
        steps = []
        for position, tokens in enumerate(prev_output_tokens.gather(1, columns).split(1, dim=1)):
            steps.append(self.step(tokens, memory, state, position))
            state = steps[-1].state
        order = columns.argsort(1).unsqueeze(2)
        features = torch.cat([step.features for step in steps], dim=1).take_along_dim(order, 1)
        attention = [step.attention for step in steps if step.attention is not None]
        if not attention:
            return features, None
        return features, torch.cat(attention, dim=1).take_along_dim(order, 1)

    def _run_step(
        self, prev_output_tokens: Tensor, encoder_out: Any, incremental_state: IncrementalState
    ) -> tuple[Tensor, Tensor | None]:
        """Features (B × 1 × dim) and attention (B × 1 × S) of the last column."""
        cached = self.get_incremental_state(incremental_state, "stepper")
        if cached is None:
            memory, state = self.start(encoder_out)
        else:
            memory, state = cached["memory"], cached["state"]
        position = prev_output_tokens.size(1) - 1
        step = self.step(prev_output_tokens[:, -1:], memory, state, position)
        cached = {"memory": memory, "state": step.state}
        self.set_incremental_state(incremental_state, "stepper", cached)
        return step.features, step.attention

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select and order sentences, for fairseq's beam search."""
        cached = self.get_incremental_state(incremental_state, "stepper")
        if cached is not None:
            self.set_incremental_state(incremental_state, "stepper", keep(cached, new_order))
