"""fairseq's sequence generator, with the search of this package where plain search is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.search import BeamSearch as FairseqBeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from tiednmt.errors import UserError
from tiednmt.modules.dropout import Dropping
from tiednmt.modules.frozen_linear import Snapshot
from tiednmt.search.beam_search import BeamSearch, Hypotheses
from tiednmt.search.ensemble import Ensemble
from tiednmt.search.workers import Workers, worth_forking
from tiednmt.tuned_process import tune_process

Hypothesis = dict[str, Tensor]
Array = np.ndarray[Any, Any]


class TiedSequenceGenerator(SequenceGenerator):
    """fairseq's generator; faster where nothing but plain beam search is asked.

    That is: models that have a stepper, no prefix, no constraints, no language model, and none of
    the options that change probabilities. In every other case fairseq's own search runs.

    Attributes:
        own_limits: whether ``max_len_a`` is of a sentence's own length, so that its translation
            depends on no other; in fairseq it is of the longest of the batch.
    """

    own_limits = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.beam_size < 1:
            raise UserError(f"--beam {self.beam_size}: must be 1 or more")
        tune_process()
        self._workers: Workers | None = None
        # weights, and what copies of them each model has
        self._forked_with: tuple[Snapshot, list[Any]] | None = None

    def _generate(
        self,
        sample: dict[str, dict[str, Tensor]],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        bos_token: int | None = None,
    ) -> list[list[Hypothesis]]:
        if not self.is_plain or prefix_tokens is not None or constraints is not None:
            found = super()._generate(sample, prefix_tokens, constraints, bos_token)
        else:
            found = self._generate_plainly(sample, bos_token)
        if not all(found):
            raise UserError(
                "a sentence has no translation, since its scores are not numbers: the training of"
                " the model has diverged; use an earlier checkpoint"
            )
        return found

    def _generate_plainly(
        self, sample: dict[str, dict[str, Tensor]], bos_token: int | None
    ) -> list[list[Hypothesis]]:
        net_input = sample["net_input"]
        source, lengths = net_input["src_tokens"], net_input["src_lengths"]
        limits = self._limits(source, lengths)
        first = self.eos if bos_token is None else bos_token
        search = self._plain_search()
        if self._may_fork(source):
            return self._search_forked(search, source, lengths, limits, first)
        return by_sentence(self._search(search, source, lengths, limits, first), len(source))

    def _limits(self, source: Tensor, lengths: Tensor) -> Tensor:
        """The units that the translation of each sentence may have, at most."""
        longest = source.size(1)
        limit = min(int(self.max_len_a * longest + self.max_len_b), self.max_len - 1)
        if self.min_len > limit:
            raise UserError(
                f"--min-len {self.min_len}: more than the {limit} units that a translation of"
                f" {longest} may have; lower it, or raise --max-len-a or --max-len-b"
            )
        if not self.own_limits:
            return torch.full_like(lengths, limit)
        own = (self.max_len_a * lengths.double() + self.max_len_b).long()
        return own.clamp(self.min_len, limit)

    @property
    def _models(self) -> list[Any]:
        return list(self.model.models)

    @property
    def is_plain(self) -> bool:
        """Whether a batch without prefix and constraints is searched by this package."""
        return (
            type(self.search) is FairseqBeamSearch
            and all(getattr(model, "stepper", None) is not None for model in self._models)
            and self.lm_model is None
            and self.repeat_ngram_blocker is None
            and self.token_indices_to_suppress is None
            and self.temperature == 1.0
            and not self.match_source_len
        )

    def _plain_search(self) -> BeamSearch:
        """The search as it is asked for now."""
        return BeamSearch(
            beam=self.beam_size,
            vocab_size=self.vocab_size,
            pad=self.pad,
            unk=self.unk,
            eos=self.eos,
            min_len=self.min_len,
            len_penalty=self.len_penalty,
            unk_penalty=self.unk_penalty,
            normalize_scores=self.normalize_scores,
        )

    def _search(
        self, search: BeamSearch, source: Tensor, lengths: Tensor, limits: Tensor, first: int
    ) -> Hypotheses:
        encoded = [model.encoder(source, lengths) for model in self._models]
        steppers = [model.stepper for model in self._models]
        layers = [model.output_layer for model in self._models]
        if len(steppers) == 1:
            return search(steppers[0], layers[0], encoded[0], limits, first)
        ensemble = Ensemble(steppers, layers)
        return search(ensemble, ensemble.score, encoded, limits, first)

    # --- several processes ---------------------------------------------------------------------

    def _may_fork(self, source: Tensor) -> bool:
        models = self._models
        return (
            # fairseq prepared them for inference: training is over
            all(model._is_generation_fast for model in models)
            and source.device.type == "cpu"
            and worth_forking(len(source))
            # forked processes would draw the same numbers
            and not any(m.retained for m in self.model.modules() if isinstance(m, Dropping))
        )

    def _search_forked(
        self, search: BeamSearch, source: Tensor, lengths: Tensor, limits: Tensor, first: int
    ) -> list[list[Hypothesis]]:
        """Share out the sentences among processes."""
        workers = self._current_workers()
        shares = min(workers.count, len(source))
        of_shares = [
            (search, *(part[share::shares].numpy() for part in (source, lengths, limits)), first)
            for share in range(shares)
        ]
        try:
            arrays = workers.map(of_shares)
        except UserError:  # one was killed, and with it all; the next search starts others
            self.close()
            raise
        hypotheses: list[list[Hypothesis]] = [[]] * len(source)
        for share, parts in enumerate(arrays):
            of_share = Hypotheses(*map(torch.from_numpy, parts))
            hypotheses[share::shares] = by_sentence(of_share, len(source[share::shares]))
        return hypotheses

    def _current_workers(self) -> Workers:
        """Processes that hold the weights as they are now."""
        copies_now = [model.frozen_as for model in self._models]
        if self._workers is not None and self._forked_with is not None:
            weights, copies = self._forked_with
            unchanged = weights.holds(self.model.parameters()) and copies == copies_now
            if unchanged and self._workers.ours:
                return self._workers
            self.close()
        self._forked_with = Snapshot(self.model.parameters()), copies_now
        self._workers = Workers(self._search_arrays, torch.get_num_threads())
        return self._workers

    def close(self) -> None:
        """End the processes that share the search; the next search starts others."""
        if self._workers is not None:
            self._workers.close()
        self._workers = self._forked_with = None

    def _search_arrays(
        self, search: BeamSearch, source: Array, lengths: Array, limits: Array, first: int
    ) -> tuple[Array, ...]:
        """:meth:`_search`, as a process of :class:`Workers` does it."""
        tensors = (torch.from_numpy(source), torch.from_numpy(lengths), torch.from_numpy(limits))
        return tuple(part.numpy() for part in self._search(search, *tensors, first))


def by_sentence(hypotheses: Hypotheses, sentences: int) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence as fairseq has them, the best first."""
    sizes = hypotheses.lengths.tolist()  # one call per tensor cuts it into views
    tokens, attention, single = (
        part.split(sizes) for part in (hypotheses.tokens, hypotheses.attention, hypotheses.single)
    )
    result: list[list[Hypothesis]] = [[] for _ in range(sentences)]
    places, values = hypotheses.sentences.tolist(), hypotheses.scores.unbind()
    for i in hypotheses.scores.argsort(descending=True, stable=True).tolist():
        result[places[i]].append(
            {
                "tokens": tokens[i],
                "score": values[i],
                "attention": attention[i].t() if attention[i].size(1) else torch.empty(0),
                "alignment": torch.empty(0),
                "positional_scores": single[i],
            }
        )
    return result
