"""Our beam search against fairseq's own: the same hypotheses, to the last of the beam."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.search import (
    DiverseSiblingsSearch,
    LengthConstrainedBeamSearch,
    LexicallyConstrainedBeamSearch,
    Sampling,
)
from fairseq.sequence_generator import SequenceGenerator
from fairseq.token_generation_constraints import pack_constraints
from omegaconf import OmegaConf

from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT, batch, model
from tiednmt.errors import UserError, explain
from tiednmt.models.tied_lstm_lm import TiedLSTMLanguageModel, TiedLSTMLanguageModelConfig
from tiednmt.search.beam_search import best
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tasks.tied_translation import quantise

pytestmark = pytest.mark.usefixtures("cpu_path")


@pytest.fixture(scope="module")
def built():
    return model(dtype=torch.float32, dropout=0.1).eval()


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"beam_size": 5},
        {"beam_size": 5, "max_len": 3},
        {"beam_size": 4, "min_len": 6, "max_len_b": 12},
        {"beam_size": 3, "len_penalty": 0.3, "unk_penalty": 2.0},
        {"beam_size": 4, "normalize_scores": False, "max_len_b": 20},
        {"beam_size": 40, "max_len_b": 8},  # wider than the vocabulary: fairseq cuts it
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 9])
def test_hypotheses_are_fairseqs(built, count, options):
    options = {"max_len_b": 15, **options}
    sample = sentences(count, 6)
    assert_same(
        hypotheses(TiedSequenceGenerator, built, sample, **options),
        hypotheses(SequenceGenerator, built, sample, **options),
    )


@pytest.mark.parametrize("options", [{"min_len": 16}, {"max_len_b": 0}], ids=str)
@pytest.mark.parametrize("cls", [TiedSequenceGenerator, SequenceGenerator])
def test_a_least_length_beyond_the_limit(built, cls, options):
    """One line names the option, whether our search is asked or fairseq's own."""
    with pytest.raises((UserError, AssertionError)) as refused:
        hypotheses(cls, built, sentences(2, 6), **{"max_len_b": 15, **options})
    line = explain(refused.value)
    assert line is not None
    assert line.startswith("--min-len") and line.endswith("raise --max-len-a or --max-len-b")


def test_a_program_may_have_another_default_dtype(built):
    sample, options = sentences(3, 6), {"beam_size": 3, "max_len_b": 9}
    expected = hypotheses(TiedSequenceGenerator, built, sample, **options)
    torch.set_default_dtype(torch.float64)
    try:
        assert_same(hypotheses(TiedSequenceGenerator, built, sample, **options), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_padding_on_either_side(built):
    for left_pad in (True, False):
        sample = sentences(5, 6, left_pad)
        options = {"beam_size": 3, "max_len_b": 9}
        assert_same(
            hypotheses(TiedSequenceGenerator, built, sample, **options),
            hypotheses(SequenceGenerator, built, sample, **options),
        )


@torch.no_grad()
@pytest.mark.parametrize("part", ["transition_1", "transition_2", "query"])
def test_a_part_whose_call_is_replaced_is_called(part):
    """As adapters replace it: an outcome of zeros is not that of the weights."""
    built, sample = model(dtype=torch.float32).eval(), sentences(3, 5)
    inputs, _ = batch()

    def found():
        return built(**inputs)[0], hypotheses(TiedSequenceGenerator, built, sample, beam_size=2)

    scores, beams = found()
    layer = getattr(built.decoder.cell, part)
    layer.forward = lambda *given, usual=layer.forward: 0 * usual(*given)
    others, others_beams = found()
    assert not torch.allclose(scores, others, rtol=1e-3)
    assert abs(beams[0][0]["score"] - others_beams[0][0]["score"]) > 1e-4


def test_what_it_cannot_do_is_left_to_fairseq(built):
    sample = sentences(4, 5)
    prefix = torch.full((4, 2), 6)
    found = hypotheses(TiedSequenceGenerator, built, sample, prefix, beam_size=3, max_len_b=9)
    assert all(h["tokens"][:2].tolist() == [6, 6] for beam in found for h in beam)
    options = {"beam_size": 3, "max_len_b": 15}
    plain = hypotheses(TiedSequenceGenerator, built, sample, **options)
    hot = hypotheses(TiedSequenceGenerator, built, sample, temperature=3.0, **options)
    assert_same(hot, hypotheses(SequenceGenerator, built, sample, temperature=3.0, **options))
    assert hot[0][0]["score"] != plain[0][0]["score"]


@pytest.mark.parametrize(
    "options",
    [
        {"match_source_len": True},
        {"no_repeat_ngram_size": 2},
        {"tokens_to_suppress": (JOINT[7],)},
        {"search_strategy": LengthConstrainedBeamSearch(JOINT, 1, 0, 2, 0)},
        {"search_strategy": DiverseSiblingsSearch(JOINT, 0.5)},
        {"search_strategy": Sampling(JOINT, sampling_topk=5)},
        {"search_strategy": LexicallyConstrainedBeamSearch(JOINT, "unordered"), "constraints": 8},
    ],
    ids=lambda options: next(iter(options.values())).__class__.__name__ + str(list(options)),
)
def test_options_beyond_plain_beam_search_are_fairseqs(built, options):
    options = {"beam_size": 4, "max_len_b": 10, **options}
    sample, found = sentences(3, 6), []
    wanted = options.pop("constraints", None)
    constraints = None if wanted is None else pack_constraints([[torch.tensor([wanted])]] * 3)
    for cls in (TiedSequenceGenerator, SequenceGenerator):
        torch.manual_seed(3)
        generator = cls([built], JOINT, **options)
        with torch.no_grad():
            found.append(generator.generate([built], sample, constraints=constraints))
    assert_same(*found)
    if wanted is not None:
        assert all(wanted in beam[0]["tokens"] for beam in found[0])


@pytest.mark.parametrize("members", [2, 3])
def test_an_ensemble_is_fairseqs(built, members):
    torch.manual_seed(11)
    others = [model(dtype=torch.float32, dropout=0.1).eval() for _ in range(members - 1)]
    with torch.no_grad():
        for other in others:
            for parameter in other.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    models, sample, found = [built, *others], sentences(4, 6), []
    for cls in (TiedSequenceGenerator, SequenceGenerator):
        generator = cls(models, JOINT, beam_size=3, max_len_b=9)
        with torch.no_grad():
            found.append(generator.generate(models, sample))
    assert TiedSequenceGenerator(models, JOINT).is_plain
    assert_same(*found)
    alone = hypotheses(TiedSequenceGenerator, built, sample, beam_size=3, max_len_b=9)
    assert alone[0][0]["score"] != found[0][0][0]["score"]


@torch.no_grad()
def test_models_of_an_ensemble_may_differ_in_precision(built):
    models = [built, model(dtype=torch.float32, dropout=0.1).double().eval()]
    sample, options = sentences(4, 6), {"beam_size": 3, "max_len_b": 9}
    found = TiedSequenceGenerator(models, JOINT, **options).generate(models, sample)
    assert_same(found, hypotheses(SequenceGenerator, built, sample, **options))


@torch.no_grad()
def test_a_unit_that_is_ruled_out():
    """By a bias of −∞, also where it is the first one."""
    forbidding, sample = model(dtype=torch.float32).eval(), sentences(5, 6)
    options = {"beam_size": 4, "max_len_b": 9}
    usual = hypotheses(TiedSequenceGenerator, forbidding, sample, **options)
    wanted = int(usual[0][0]["tokens"][0])
    forbidding.output_layer.bias[[0, wanted]] = -torch.inf
    found = hypotheses(TiedSequenceGenerator, forbidding, sample, **options)
    assert_same(found, hypotheses(SequenceGenerator, forbidding, sample, **options))
    assert not any(wanted in one["tokens"] for beam in found for one in beam)


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 5])
def test_scores_that_are_no_numbers_end_no_hypothesis(beam):
    diverged = model(dtype=torch.float32).eval()
    diverged.output_layer.bias.fill_(torch.nan)
    with pytest.raises(UserError, match="not numbers"):
        hypotheses(TiedSequenceGenerator, diverged, sentences(3, 4), beam_size=beam)


def test_fusion_with_a_language_model_is_fairseqs(built):
    torch.manual_seed(12)
    config = {**vars(TiedLSTMLanguageModelConfig()), "embed_dim": 6, "hidden_size": 6}
    config |= {"tying": "decoder", "init_range": 1.0}
    language_model = TiedLSTMLanguageModel.build(OmegaConf.create(config), None, JOINT).eval()
    sample, options = sentences(4, 6), {"beam_size": 3, "max_len_b": 9}
    fused = {"lm_model": language_model, "lm_weight": 0.7, **options}
    ours, theirs = (
        hypotheses(cls, built, sample, **fused)
        for cls in (TiedSequenceGenerator, SequenceGenerator)
    )
    assert_same(ours, theirs)
    alone = hypotheses(TiedSequenceGenerator, built, sample, **options)
    assert alone[0][0]["score"] != ours[0][0]["score"]


@pytest.mark.parametrize("at_once", [1, 200])
def test_scores_held_at_once_change_nothing(built, monkeypatch, at_once):
    sample, options = sentences(9, 6), {"beam_size": 4, "max_len_b": 12}
    expected = hypotheses(SequenceGenerator, built, sample, **options)
    monkeypatch.setattr("tiednmt.search.beam_search.SEARCH_SCORES_ON_CPU", at_once)
    monkeypatch.setattr("tiednmt.modules.conditional_gru.DECODING_ENERGIES", at_once)
    assert_same(hypotheses(TiedSequenceGenerator, built, sample, **options), expected)


@pytest.mark.parametrize("types", [3, 16, 31, 100, 333])
@pytest.mark.parametrize("beam", [1, 5])
def test_the_best_are_those_of_all(types, beam):
    torch.manual_seed(types)
    scores, sums = torch.randn(7, beam, types, dtype=torch.float64), torch.randn(7, beam).double()
    scores[:, :, 1] = -torch.inf
    for count in {1, min(10, types * beam - 1), types * beam - 1}:
        found, chosen, tokens = best(scores, sums, count)
        expected, places = (scores + sums.unsqueeze(2)).flatten(1).topk(count)
        torch.testing.assert_close(found, expected)
        real = expected.isfinite()
        assert torch.equal((chosen * types + tokens)[real], places[real])
        assert chosen.min() >= 0 and chosen.max() < beam
        assert tokens.min() >= 0 and tokens.max() < types


@torch.no_grad()
def test_int8_steps_are_almost_the_same():
    rounded = model(dtype=torch.float32, embed_dim=64, decoder_hidden_size=64).eval()
    inputs = sentences(6, 5)["net_input"]
    memory, state = rounded.stepper.start(
        rounded.encoder(inputs["src_tokens"], inputs["src_lengths"])
    )
    tokens = torch.arange(4, 10).unsqueeze(1)

    def step():
        features, after, attention = rounded.stepper.step(tokens, memory, state, 0)
        return features, after, attention, rounded.output_layer(features)

    exact = step()
    quantise(rounded)
    for found, expected in zip(step(), exact, strict=True):
        assert 0 < (found - expected).norm() < 0.02 * expected.norm()


def test_int8_of_another_model_is_refused():
    with pytest.raises(UserError, match="--int8 needs a model of this plugin"):
        quantise(SimpleNamespace())
