"""Beam search that yields what fairseq's does, in a fraction of its time.

fairseq copies the whole history of every hypothesis at each step, keeps the source once per
hypothesis and looks at all scores several times. Here a step knows only the last tokens, the states
and the sums of scores; the hypotheses of a sentence share what is kept of its source; and what a
finished hypothesis consists of is read off the links between steps at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tiednmt.kernels import cpu_kernels_for
from tiednmt.kernels.tuning import SEARCH_GROUP, SEARCH_SCORES_ON_CPU, SEARCH_SCORES_ON_GPU
from tiednmt.search.stepper import Stepper, Tree, follow, keep


class Hypotheses(NamedTuple):
    """All N hypotheses of a batch, of M tokens in total, one after the other.

    Attributes:
        sentences: N, the sentence of each hypothesis.
        scores: N, natural log-probabilities; divided by ``lengths ** len_penalty`` if normalised.
        lengths: N, in tokens.
        tokens: M.
        attention: M × S over the source as given; M × 0 if the decoder has none.
        single: M, the log-probability of each token.
    """

    sentences: Tensor
    scores: Tensor
    lengths: Tensor
    tokens: Tensor
    attention: Tensor
    single: Tensor


class _Beams(NamedTuple):
    """The hypotheses of L unfinished sentences, K of each (one before the first step)."""

    tokens: Tensor  # L × K, the last of each
    sums: Tensor  # L × K, log-probabilities
    parents: Tensor  # L × K, rows of the step before that they continue
    sentences: Tensor  # L
    limits: Tensor  # L, tokens before the end at most
    ended: Tensor  # L, how many hypotheses of the sentence have ended
    memory: Tree  # leaves L × …
    state: Tree  # leaves L × K × …


class _Step(NamedTuple):
    """What is remembered of a step over R rows, hypotheses of sentences that went on."""

    tokens: Tensor  # R: what the rows were continued from
    sums: Tensor  # R: their log-probability up to there
    parents: Tensor  # R: the rows of the step before that they came from
    attention: Tensor | None  # R × S


class _Candidates(NamedTuple):
    """The best C continuations of each of L sentences, the best first."""

    sums: Tensor  # L × C
    tokens: Tensor  # L × C, by what a hypothesis is continued
    chosen: Tensor  # L × C, which of the sentence's hypotheses that is
    rows: Tensor  # L × C, its row of the step


class _Finished(NamedTuple):
    """Hypotheses that ended at one step (N of them)."""

    length: int  # with the end of sentence
    sentences: Tensor
    rows: Tensor  # of that step, continued by the end of sentence
    sums: Tensor


@dataclass(frozen=True)
class BeamSearch:
    """Plain beam search over a stepper.

    Attributes:
        beam: hypotheses kept per sentence and step.
        vocab_size: entries of the target vocabulary.
        pad, unk, eos: indices of padding, of the unknown word and of the end of a sentence.
        min_len: tokens of a hypothesis before its end, at least.
        len_penalty: a score is divided by the hypothesis' length to this power.
        unk_penalty: taken off the score of each unknown word.
        normalize_scores: whether to divide at all.
    """

    beam: int
    vocab_size: int
    pad: int
    unk: int
    eos: int
    min_len: int = 1
    len_penalty: float = 1.0
    unk_penalty: float = 0.0
    normalize_scores: bool = True

    def __call__(
        self,
        stepper: Stepper,
        score: Callable[[Tensor], Tensor],
        encoder_out: Any,
        limits: Tensor,
        first: int,
    ) -> Hypotheses:
        """The finished hypotheses of each sentence: ``beam`` of them, or fewer if no more end.

        Args:
            stepper: the decoder.
            score: features (… × dim) → unnormalised scores (… × vocabulary), which are overwritten.
            encoder_out: of the sentences.
            limits: tokens of a hypothesis before its end, at most, for each sentence.
            first: the token before the first one.
        """
        beams = self._start(stepper, encoder_out, limits, first)
        shortest, longest = map(int, limits.aminmax())
        steps: list[_Step] = []
        finished: list[_Finished] = []
        for position in range(longest + 1):
            output = stepper.step(beams.tokens, beams.memory, beams.state, position)
            steps.append(_remembered(beams, output.attention))
            going = beams.limits > position
            full = None if position < shortest else ~going
            candidates = self._candidates(output.features, beams, score, position, full)
            ends = candidates.tokens.eq(self.eos) & candidates.sums.gt(-torch.inf)  # nor NaN
            beams = beams._replace(state=output.state)
            if full is None and not ends[:, : self.beam].any():  # the best of each sentence go on
                beams = _continued(beams, _Candidates(*(one[:, : self.beam] for one in candidates)))
                continue
            ending, ended = self._ending(beams, candidates, ends, position + 1)
            finished.append(ending)
            going_on = (going & (ended < self.beam)).nonzero().squeeze(1)
            if not len(going_on):
                break
            beams = self._go_on(beams._replace(ended=ended), candidates, ends, going_on)
        return self._trace(steps, finished)

    @staticmethod
    def _start(stepper: Stepper, encoder_out: Any, limits: Tensor, first: int) -> _Beams:
        """All hypotheses of a sentence are equal before the first step."""
        memory, state = stepper.start(encoder_out)
        device = _first_leaf(state).device
        numbers = torch.arange(len(limits), device=device)
        return _Beams(
            tokens=numbers.new_full((len(limits), 1), first),
            sums=torch.zeros(len(limits), 1, dtype=torch.float32, device=device),
            parents=numbers.new_zeros(len(limits), 1),
            sentences=numbers,
            limits=limits.to(device),
            ended=torch.zeros_like(numbers),
            memory=memory,
            state=state,
        )

    def _candidates(
        self,
        features: Tensor,
        beams: _Beams,
        score: Callable[[Tensor], Tensor],
        position: int,
        full: Tensor | None,
    ) -> _Candidates:
        """Score so many sentences at a time that the scores stay in the cache."""
        on_cpu = features.device.type == "cpu"
        at_once = SEARCH_SCORES_ON_CPU if on_cpu else SEARCH_SCORES_ON_GPU
        block = max(1, at_once // (features.size(1) * self.vocab_size))
        blocks = features.split(block)
        fulls = [None] * len(blocks) if full is None else full.split(block)
        parts = [
            self._best_of_block(score(some).float(), sums_of, position, full_of)
            for some, sums_of, full_of in zip(blocks, beams.sums.split(block), fulls, strict=True)
        ]
        sums, chosen, tokens = map(_joined, zip(*parts, strict=True))
        live, width = beams.tokens.shape
        first_rows = torch.arange(0, live * width, width, device=chosen.device).unsqueeze(1)
        return _Candidates(sums, tokens, chosen, chosen + first_rows)

    def _best_of_block(
        self, scores: Tensor, sums: Tensor, position: int, full: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of each sentence: sums, hypotheses and tokens.

        Args:
            scores: B × K × vocabulary; overwritten where a token may not come next.
            sums: B × K.
            position: tokens of a hypothesis so far.
            full: B, whether these are as many as the sentence may have; None if none has.
        """
        sums = sums - _log_partition(scores)
        scores[..., self.pad] = -torch.inf
        if self.unk_penalty:
            scores[..., self.unk] -= self.unk_penalty
        if full is not None:
            ends = scores[..., self.eos].clone()
            scores.masked_fill_(full.view(-1, 1, 1), -torch.inf)
            scores[..., self.eos] = ends
        if position < self.min_len:
            scores[..., self.eos] = -torch.inf
        return best(scores, sums, min(2 * self.beam, scores[0].numel() - 1))

    def _ending(
        self, beams: _Beams, candidates: _Candidates, ends: Tensor, length: int
    ) -> tuple[_Finished, Tensor]:
        """The candidates that end a hypothesis, and how many have ended of each sentence then.

        A hypothesis may end only where it is among the best, as many as the beam is wide, and a
        sentence has as many in all.
        """
        counted = ends[:, : self.beam]
        counted = counted & (counted.cumsum(1) + beams.ended.unsqueeze(1) <= self.beam)
        at = counted.nonzero(as_tuple=True)
        ending = beams.sentences[at[0]], candidates.rows[at], candidates.sums[at]
        return _Finished(length, *ending), beams.ended + counted.sum(1)

    def _go_on(
        self, beams: _Beams, candidates: _Candidates, ends: Tensor, sentences: Tensor
    ) -> _Beams:
        """The beams of these sentences (indices of the beams) after the step."""
        count = candidates.tokens.size(1)
        # candidates in their order, but behind all others where they end a hypothesis
        order = ends[sentences] * count + torch.arange(count, device=sentences.device)
        going = order.topk(self.beam, largest=False)[1]
        candidates = _Candidates(*(part[sentences].gather(1, going) for part in candidates))
        if len(sentences) < len(beams.sentences):
            beams = beams._replace(
                sentences=beams.sentences[sentences],
                limits=beams.limits[sentences],
                ended=beams.ended[sentences],
                memory=keep(beams.memory, sentences),
                state=keep(beams.state, sentences),
            )
        return _continued(beams, candidates)

    def _trace(self, steps: Sequence[_Step], finished: Sequence[_Finished]) -> Hypotheses:
        """What the finished hypotheses consist of, read backwards from their last steps."""
        counts = torch.tensor([len(ends.rows) for ends in finished])
        lengths = torch.tensor([ends.length for ends in finished]).repeat_interleave(counts)
        sentences, rows, sums = (_joined(parts) for parts in list(zip(*finished, strict=True))[1:])
        lengths = lengths.to(rows.device)
        tokens = rows.new_full((len(rows), len(steps)), self.eos)
        cumulative = sums.unsqueeze(1).repeat(1, len(steps))
        width = 0 if steps[0].attention is None else steps[0].attention.size(1)
        attention = sums.new_zeros(len(rows), len(steps), width)
        for t in reversed(range(len(steps))):
            reached = (lengths > t).nonzero().squeeze(1)
            at, step = rows[reached], steps[t]
            if step.attention is not None:
                attention[reached, t] = step.attention[at].to(attention.dtype)
            if t:
                tokens[reached, t - 1] = step.tokens[at]
                cumulative[reached, t - 1] = step.sums[at]
                rows[reached] = step.parents[at]
        single = cumulative.diff(dim=1, prepend=cumulative.new_zeros(len(rows), 1))
        scores = sums / lengths.to(sums) ** self.len_penalty if self.normalize_scores else sums
        within = torch.arange(len(steps), device=rows.device) < lengths.unsqueeze(1)
        parts = (part[within] for part in (tokens, attention, single))
        return Hypotheses(sentences, scores, lengths, *parts)


def _first_leaf(tree: Tree) -> Tensor:
    if isinstance(tree, Tensor):
        return tree
    values = tree.values() if isinstance(tree, dict) else tree
    return _first_leaf(next(value for value in values if value is not None))


def _remembered(beams: _Beams, attention: Tensor | None) -> _Step:
    return _Step(
        beams.tokens.flatten(),
        beams.sums.flatten(),
        beams.parents.flatten(),
        None if attention is None else attention.flatten(0, 1),
    )


def _continued(beams: _Beams, candidates: _Candidates) -> _Beams:
    """The beams with the candidates, as many as they are wide, as their hypotheses."""
    return beams._replace(
        tokens=candidates.tokens,
        sums=candidates.sums,
        parents=candidates.rows,
        state=follow(beams.state, candidates.chosen),
    )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _log_partition(scores: Tensor) -> Tensor:
    """log Σ exp of the last dimension of B × K × vocabulary."""
    kernels = cpu_kernels_for(scores)
    if kernels:
        compiled: Tensor = kernels.log_partition(scores)
        return compiled
    # on a CPU torch's logsumexp takes four times as long
    highest, where = scores.max(-1, keepdim=True)
    return (highest - scores.log_softmax(-1).gather(-1, where)).squeeze(-1)


def best(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` highest of ``scores`` (B × K × vocabulary) + ``base`` (B × K) per sentence.

    Returns:
        The sums, which of the K, and the vocabulary entries, each B × count.
    """
    kernels = cpu_kernels_for(scores)
    sums, places = (kernels.best if kernels else _best_of_groups)(scores, base, count)
    vocab_size = scores.size(2)
    return sums, places // vocab_size, places % vocab_size


def _best_of_groups(scores: Tensor, base: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The sums, and where they are among the K · vocabulary.

    They lie in the ``count`` groups of entries with the highest maxima, so that the rest need not
    be sorted.
    """
    beam, vocab_size = scores.shape[1:]
    width = vocab_size // SEARCH_GROUP
    whole = width * SEARCH_GROUP  # the few entries beyond are looked at one by one
    maxima = scores[..., :whole].unflatten(2, (SEARCH_GROUP, width)).amax(2) + base.unsqueeze(2)
    groups = maxima.flatten(1).topk(min(count, beam * width))[1]
    first = groups // width * vocab_size + groups % width
    device = scores.device
    members = first.unsqueeze(2) + width * torch.arange(SEARCH_GROUP, device=device)
    beyond = torch.arange(beam * vocab_size, device=device).view(beam, vocab_size)[:, whole:]
    places = torch.cat((members.flatten(1), beyond.flatten().expand(len(first), -1)), 1)
    sums = scores.flatten(1).gather(1, places) + base.gather(1, places // vocab_size)
    sums, highest = sums.topk(count)
    return sums, places.gather(1, highest)
