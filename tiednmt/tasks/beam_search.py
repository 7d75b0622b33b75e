"""Beam search that yields what fairseq's does, in a fraction of its time.

fairseq copies the whole history of every hypothesis at each step, keeps the source once for each
hypothesis and looks at all scores several times. Here a step knows only the last tokens, the states
and the sums of scores; the hypotheses of a sentence share what is kept of its source; and what a
finished hypothesis consists of is read off the links between steps at the end.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.search import BeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from tiednmt.kernels import cpu_kernels_for
from tiednmt.models.tied_gru import TiedGRUModel, in_given_columns
from tiednmt.tasks.workers import Workers, worth_forking

Hypothesis = dict[str, Tensor]
Array = np.ndarray[Any, Any]

# scores held at once: on a CPU so few that they stay in its cache, on a GPU as many as fit easily
_SCORES_ON_CPU, _SCORES_ON_GPU = 2**20, 2**27
_GROUP = 16  # types of which only the best is looked at first


class _Step(NamedTuple):
    """What is remembered of a step over R rows, hypotheses of sentences that were live."""

    tokens: Tensor  # R: what the rows were continued from
    sums: Tensor  # R: their log-probability up to there
    parents: Tensor  # R: the rows of the step before that they came from
    sentences: Tensor  # R
    attention: Tensor  # R × S


class _Finished(NamedTuple):
    """Hypotheses that ended at one step (N of them)."""

    sentences: Tensor
    rows: Tensor  # of that step, continued by the end of sentence
    sums: Tensor


class _Found(NamedTuple):
    """All hypotheses of a batch (N of them, of M tokens together), one after the other."""

    sentences: Tensor  # N
    scores: Tensor  # N
    lengths: Tensor  # N
    tokens: Tensor  # M
    attention: Tensor  # M × S
    single: Tensor  # M: the log-probability of each token


class TiedSequenceGenerator(SequenceGenerator):
    """fairseq's generator, with a search of its own where nothing but plain beam search is asked.

    That is: one ``tied_gru``, no prefix, no constraints, no language model, and none of the options
    that change probabilities. In every other case fairseq's own search runs.
    """

    def _generate(
        self,
        sample: dict[str, dict[str, Tensor]],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        bos_token: int | None = None,
    ) -> list[list[Hypothesis]]:
        if not self._is_plain() or prefix_tokens is not None or constraints is not None:
            return super()._generate(sample, prefix_tokens, constraints, bos_token)
        net_input = sample["net_input"]
        source, lengths = net_input["src_tokens"], net_input["src_lengths"]
        limit = min(int(self.max_len_a * source.size(1) + self.max_len_b), self.max_len - 1)
        assert self.min_len <= limit, "min_len cannot be larger than max_len"
        first = self.eos if bos_token is None else bos_token
        if not self._may_fork(source):
            return _by_sentence(self._find(source, lengths, first, limit), len(source))
        if self._workers is None:
            self._workers = Workers(self._find_arrays, torch.get_num_threads())
        shares = min(self._workers.count, len(source))
        arrays = self._workers.map(
            [
                (source[share::shares].numpy(), lengths[share::shares].numpy(), first, limit)
                for share in range(shares)
            ]
        )
        hypotheses: list[list[Hypothesis]] = [[]] * len(source)
        for share, parts in enumerate(arrays):
            found = _Found(*map(torch.from_numpy, parts))
            hypotheses[share::shares] = _by_sentence(found, len(source[share::shares]))
        return hypotheses

    _workers: Workers | None = None

    def _may_fork(self, source: Tensor) -> bool:
        model = self.model.single_model
        return (
            # a model that fairseq prepared for inference is not trained again: copies stay true
            model._is_generation_fast
            and source.device.type == "cpu"
            and model.output_layer.bias.dtype != torch.bfloat16  # which NumPy lacks
            and worth_forking(len(source))
        )

    def _find(self, source: Tensor, lengths: Tensor, first: int, limit: int) -> _Found:
        model = self.model.single_model
        encoded = model.encoder(source, lengths)
        steps, finished = self._search(model.decoder, encoded, first, limit)
        return self._trace(steps, finished, encoded["columns"][0])

    def _find_arrays(
        self, source: Array, lengths: Array, first: int, limit: int
    ) -> tuple[Array, ...]:
        """:meth:`_find`, as a process of :class:`Workers` does it."""
        found = self._find(torch.from_numpy(source), torch.from_numpy(lengths), first, limit)
        return tuple(part.numpy() for part in found)

    def _is_plain(self) -> bool:
        return (
            type(self.search) is BeamSearch
            and self.model.models_size == 1
            and isinstance(self.model.single_model, TiedGRUModel)
            and self.lm_model is None
            and self.repeat_ngram_blocker is None
            and self.token_indices_to_suppress is None
            and self.temperature == 1.0
            and not self.match_source_len
        )

    def _search(
        self, decoder: Any, encoded: dict[str, list[Tensor]], first: int, limit: int
    ) -> tuple[list[_Step], list[_Finished]]:
        memory, state = decoder.begin_steps(encoded)
        live, beam = len(state), self.beam_size
        sentences = torch.arange(live, device=state.device)
        ended = torch.zeros_like(sentences)
        # all hypotheses of a sentence are one before the first step
        state = state.unsqueeze(1)
        tokens, parents = sentences.new_full((live, 1), first), sentences.new_zeros(live, 1)
        sums = torch.zeros(live, 1, device=state.device)
        steps: list[_Step] = []
        finished: list[_Finished] = []
        for step in range(limit + 1):
            width = tokens.size(1)
            features, state, attention = decoder.step(tokens, memory, state)
            steps.append(
                _Step(
                    tokens.flatten(),
                    sums.flatten(),
                    parents.flatten(),
                    sentences.repeat_interleave(width),
                    attention.flatten(0, 1),
                )
            )
            at_once = _SCORES_ON_CPU if state.device.type == "cpu" else _SCORES_ON_GPU
            block = max(1, at_once // (width * self.vocab_size))
            parts = [
                self._candidates(decoder.output_layer(some).float(), sums_of, step, limit)
                for some, sums_of in zip(features.split(block), sums.split(block), strict=True)
            ]
            sums, chosen, tokens = map(torch.cat, zip(*parts, strict=True))
            rows = chosen + torch.arange(live, device=chosen.device).unsqueeze(1) * width

            # a hypothesis may end only where it is among the best, as many as the beam is wide
            ends = tokens.eq(self.eos) & sums.ne(-torch.inf)
            counted = ends[:, :beam]
            counted = counted & (counted.cumsum(1) + ended.unsqueeze(1) <= beam)
            at = counted.nonzero(as_tuple=True)
            finished.append(_Finished(sentences[at[0]], rows[at], sums[at]))
            ended = ended + counted.sum(1)
            left = (ended < beam).nonzero().squeeze(1) if step < limit else ended[:0]
            if not len(left):
                break

            # the best that go on, in their order
            count = tokens.size(1)
            order = ends[left] * count + torch.arange(count, device=left.device)
            going = order.topk(beam, largest=False)[1]
            tokens, sums = tokens[left].gather(1, going), sums[left].gather(1, going)
            parents, chosen = rows[left].gather(1, going), chosen[left].gather(1, going)
            if len(left) < live:
                live = len(left)
                sentences, ended, state = sentences[left], ended[left], state[left]
                memory = type(memory)(*(part[left] for part in memory))
            state = state.gather(1, chosen.unsqueeze(2).expand(-1, -1, state.size(2)))
        return steps, finished

    def _candidates(
        self, scores: Tensor, sums: Tensor, step: int, limit: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of each sentence: their sums, hypotheses and types.

        Args:
            scores: B × K × types; overwritten where a type may not come next.
            sums: B × K.
        """
        sums = sums - _log_partition(scores)
        scores[..., self.pad] = -torch.inf
        scores[..., self.unk] -= self.unk_penalty
        if step >= limit:
            scores[..., : self.eos] = -torch.inf
            scores[..., self.eos + 1 :] = -torch.inf
        if step < self.min_len:
            scores[..., self.eos] = -torch.inf
        return _best(scores, sums, min(2 * self.beam_size, scores[0].numel() - 1))

    def _trace(
        self, steps: Sequence[_Step], finished: Sequence[_Finished], columns: Tensor
    ) -> _Found:
        """What the finished hypotheses consist of."""
        found = [len(ends.rows) for ends in finished]
        sentences = torch.cat([ends.sentences for ends in finished])
        sums = torch.cat([ends.sums for ends in finished])
        rows = torch.cat([ends.rows for ends in finished])
        lengths = torch.repeat_interleave(torch.arange(1, len(steps) + 1), torch.tensor(found))
        lengths = lengths.to(rows.device)
        tokens = rows.new_full((len(rows), len(steps)), self.eos)
        cumulative = sums.unsqueeze(1).repeat(1, len(steps))
        attention = steps[0].attention.new_zeros(len(rows), len(steps), columns.size(1))
        for t in reversed(range(len(steps))):
            reached = (lengths > t).nonzero().squeeze(1)
            at = rows[reached]
            attention[reached, t] = steps[t].attention[at]
            if t:
                tokens[reached, t - 1] = steps[t].tokens[at]
                cumulative[reached, t - 1] = steps[t].sums[at]
                rows[reached] = steps[t].parents[at]
        single = cumulative.diff(dim=1, prepend=cumulative.new_zeros(len(rows), 1))
        scores = sums / lengths**self.len_penalty if self.normalize_scores else sums
        attention = in_given_columns(attention, columns[sentences])
        within = torch.arange(len(steps), device=rows.device) < lengths.unsqueeze(1)
        parts = (part[within] for part in (tokens, attention, single))
        return _Found(sentences, scores, lengths, *parts)


def _by_sentence(found: _Found, sentences: int) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence as fairseq has them, the best first."""
    sizes = found.lengths.tolist()  # one call a tensor cuts it into views
    tokens, attention, single = (
        part.split(sizes) for part in (found.tokens, found.attention, found.single)
    )
    hypotheses: list[list[Hypothesis]] = [[] for _ in range(sentences)]
    places, values = found.sentences.tolist(), found.scores.unbind()
    for i in found.scores.argsort(descending=True, stable=True).tolist():
        hypotheses[places[i]].append(
            {
                "tokens": tokens[i],
                "score": values[i],
                "attention": attention[i].t(),
                "alignment": torch.empty(0),
                "positional_scores": single[i],
            }
        )
    return hypotheses


def _log_partition(scores: Tensor) -> Tensor:
    """log Σ exp of the last dimension of B × K × types."""
    kernels = cpu_kernels_for(scores)
    if kernels:
        compiled: Tensor = kernels.log_partition(scores)
        return compiled
    # on a CPU torch's logsumexp takes four times as long
    return scores[..., 0] - scores.log_softmax(-1)[..., 0]


def _best(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` highest of ``scores`` (B × K × types) + ``base`` (B × K) of each sentence.

    Returns:
        The sums, which of the K, and the types, each B × count.
    """
    kernels = cpu_kernels_for(scores)
    sums, places = (kernels.best if kernels else _best_of_groups)(scores, base, count)
    types = scores.size(2)
    return sums, places // types, places % types


def _best_of_groups(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As above, the sums and where they are among the K · types.

    They lie in the ``count`` groups of types with the highest maxima, so that the rest need not be
    sorted.
    """
    beam, types = scores.shape[1:]
    width = types // _GROUP
    whole = width * _GROUP  # the few types beyond are looked at one by one
    maxima = scores[..., :whole].unflatten(2, (_GROUP, width)).amax(2) + base.unsqueeze(2)
    groups = maxima.flatten(1).topk(min(count, beam * width))[1]
    first = groups // width * types + groups % width
    device = scores.device
    members = first.unsqueeze(2) + width * torch.arange(_GROUP, device=device)
    beyond = torch.arange(beam * types, device=device).view(beam, types)[:, whole:]
    places = torch.cat((members.flatten(1), beyond.flatten().expand(len(first), -1)), 1)
    sums = scores.flatten(1).gather(1, places) + base.gather(1, places // types)
    sums, best = sums.topk(count)
    return sums, places.gather(1, best)
