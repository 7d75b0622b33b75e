"""What every architecture owes: the same tests over all of them, in every mode of tying.

A new architecture adds its line to ``ARCHITECTURES``.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import pickle
import re
from dataclasses import fields
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import torch.distributed as dist
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import EMAConfig
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.models.ema import build_ema
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrize

import tests.support.toy_model  # noqa: F401
import tiednmt.plugin  # noqa: F401
from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT, batch, dictionary
from tests.support.untrained import checkpoint_of
from tiednmt.errors import CheckpointError, UserError
from tiednmt.models.model_options import TiedModelConfig
from tiednmt.models.parameters import tie_map_of
from tiednmt.modules import linear as linear_module
from tiednmt.modules.dropout import Dropping
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.options import option_name
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tying import DECODER, INPUTS, NONE, THREE_WAY, TieMap

# name of --arch → sizes that keep the tests quick
ARCHITECTURES = {
    "tied_gru": {
        "embed_dim": 6,
        "encoder_hidden_size": 4,
        "encoder_layers": 2,
        "decoder_hidden_size": 5,
        "attention_size": 7,
    },
    "tied_lstm": {
        "embed_dim": 6,
        "encoder_hidden_size": 4,
        "encoder_layers": 2,
        "encoder_bidirectional": True,
        "decoder_hidden_size": 5,
    },
    "tied_lstm_lm": {"embed_dim": 6, "hidden_size": 5},
    "tied_rhn_lm": {"embed_dim": 6, "hidden_size": 5, "depth": 2},
    "tied_toy": {},
    "tied_transformer": {
        "embed_dim": 6,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_embed_dim": 7,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_embed_dim": 5,
    },
    "tied_transformer_gru": {
        "embed_dim": 6,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_embed_dim": 7,
        "decoder_hidden_size": 5,
        "attention_size": 7,
    },
    "tied_transformer_lm": {
        "embed_dim": 6,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_embed_dim": 7,
        "attention_span": 3,
    },
}
LANGUAGE_MODELS = {"tied_lstm_lm", "tied_rhn_lm", "tied_transformer_lm"}
MATRICES = {NONE: 3, INPUTS: 2, DECODER: 2, THREE_WAY: 1}  # of a translation model
CASES = [
    (arch, tying)
    for arch in ARCHITECTURES
    for tying in ((NONE, DECODER) if arch in LANGUAGE_MODELS else MATRICES)
]
TRANSLATION = [arch for arch in ARCHITECTURES if arch not in LANGUAGE_MODELS]
every_case = pytest.mark.parametrize(("arch", "tying"), CASES)
every_architecture = pytest.mark.parametrize("arch", ARCHITECTURES)
every_translator = pytest.mark.parametrize("arch", TRANSLATION)

every_path = pytest.mark.usefixtures("cpu_path")  # plain torch, and compiled


def build(arch, tying=None, dtype=torch.float64, seed=7, words=JOINT, noise=0.2, **changes):
    """A small model, with P; with ``noise`` its padding rows and biases are not zero."""
    tying = tying or (DECODER if arch in LANGUAGE_MODELS else THREE_WAY)
    options = {**vars(MODEL_DATACLASS_REGISTRY[arch]()), **ARCHITECTURES[arch]}
    config = OmegaConf.create({"model": {**options, "dropout": 0.0, "projection": True, **changes}})
    config.model.tying = tying
    torch.manual_seed(seed)
    source = None if arch in LANGUAGE_MODELS else words
    result = ARCH_MODEL_REGISTRY[arch].build(config.model, source, words).to(dtype)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return result


def inputs_for(arch, **options):
    """What ``forward`` takes, and the targets."""
    given, target = batch(**options)
    if arch in LANGUAGE_MODELS:
        given = {"prev_output_tokens": given["prev_output_tokens"]}
        return {"src_tokens": given["prev_output_tokens"]}, target
    return given, target


def scores_of(model, given):
    return _of_tokens(model(**given)[0], given.get("prev_output_tokens", given["src_tokens"]))


def _of_tokens(scores, tokens):
    """Zeros where a target has ended: what a model makes of padding is its own affair."""
    return scores * tokens.ne(JOINT.pad()).unsqueeze(2)


def loss_of(model, given, target):
    features, _ = model(**given, features_only=True)
    layer = model.output_layer
    return layer.loss(features.flatten(0, 1), target.flatten(), JOINT.pad(), 0.1).loss


def evaluated(model, arch):
    with torch.no_grad():
        return scores_of(model.eval(), inputs_for(arch)[0])


def assert_tied(model, arch, tying):
    """As many matrices as the mode says, and a change of one use is a change of all."""
    embeddings = model.embeddings
    uses = [embeddings.target.weight, embeddings.output.embedding.weight]
    if embeddings.source is not None:
        uses.insert(0, embeddings.source.weight)
        assert (uses[0] is uses[1]) == (tying in (INPUTS, THREE_WAY))
    assert (uses[-2] is uses[-1]) == (tying in (DECODER, THREE_WAY))
    assert model.tie_map.tying == tying
    assert len(model.tie_map.groups) == len({id(use) for use in uses})


# --- what it computes ---------------------------------------------------------------------------


@every_path
@every_translator
def test_side_of_padding(arch):
    model = build(arch).eval()
    left, right = (scores_of(model, batch(left_pad=side)[0]) for side in (True, False))
    torch.testing.assert_close(left, right)


@every_path
@every_translator
def test_side_of_padding_in_the_target(arch):
    """``--left-pad-target``."""
    model, (given, _) = build(arch).eval(), inputs_for(arch)
    right = given["prev_output_tokens"]
    left = torch.stack([row.roll(int(row.eq(JOINT.pad()).sum())) for row in right])
    (one, attention), (other, attention_of_left) = (
        model(**{**given, "prev_output_tokens": tokens}) for tokens in (right, left)
    )
    real, of_left = right.ne(JOINT.pad()), left.ne(JOINT.pad())
    torch.testing.assert_close(other[of_left], one[real])
    attention, attention_of_left = (
        _first(extra["attn"]) for extra in (attention, attention_of_left)
    )
    if attention is not None:
        torch.testing.assert_close(attention_of_left[of_left], attention[real])


def _first(attention):
    """fairseq's Transformer has it in a list."""
    return attention[0] if isinstance(attention, list) else attention


@every_architecture
def test_a_number_out_of_range_is_refused_by_name(arch):
    numbers = {
        field.name
        for field in fields(MODEL_DATACLASS_REGISTRY[arch])
        if {int, float} & {field.type, *get_args(field.type)}
    }
    for name in numbers - {"transform_bias"}:  # which may be any
        with pytest.raises(UserError, match=f"{option_name(name)} -1: must be"):
            build(arch, **{name: -1})


@every_path
@every_architecture
def test_a_sentence_scores_alone_as_in_a_batch(arch):
    model = build(arch).eval()
    lengths, target_lengths = (5, 3, 1), (4, 6, 1)
    together, _ = inputs_for(arch, lengths=lengths, target_lengths=target_lengths)
    scores = scores_of(model, together)
    for i, (length, target_length) in enumerate(zip(lengths, target_lengths, strict=True)):
        alone = {name: values[i : i + 1] for name, values in together.items()}
        if arch in LANGUAGE_MODELS:
            alone["src_tokens"] = alone["src_tokens"][:, : target_length + 1]
        else:
            alone["src_tokens"] = alone["src_tokens"][:, max(lengths) - length :]
            alone["prev_output_tokens"] = alone["prev_output_tokens"][:, : target_length + 1]
        torch.testing.assert_close(scores_of(model, alone)[0], scores[i, : target_length + 1])


def steps_of(model, arch, given, order=None, at=2):
    """The scores of incremental decoding; sentences are put in another ``order`` before step 2."""
    state, columns = {}, []
    name = "src_tokens" if arch in LANGUAGE_MODELS else "prev_output_tokens"
    encoder_out = None
    if arch not in LANGUAGE_MODELS:
        encoder_out = model.encoder(given["src_tokens"], given["src_lengths"])
    tokens = given[name]
    for t in range(tokens.size(1)):
        if order is not None and t == at:
            tokens = tokens[order]
            model.decoder.reorder_incremental_state_scripting(state, order)
            columns = [column[order] for column in columns]
            if encoder_out is not None:
                encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
        encoded = {} if encoder_out is None else {"encoder_out": encoder_out}
        step, _ = model.decoder(tokens[:, : t + 1], incremental_state=state, **encoded)
        columns.append(step[:, 0])
    return _of_tokens(torch.stack(columns, 1), tokens)


@every_path
@every_architecture
def test_incremental_decoding_equals_teacher_forcing(arch):
    model, (given, _) = build(arch).eval(), inputs_for(arch)
    torch.testing.assert_close(steps_of(model, arch, given), scores_of(model, given))


@every_path
@every_architecture
def test_reordering_moves_sentences_with_their_state(arch):
    model, (given, _) = build(arch).eval(), inputs_for(arch)
    order = torch.tensor([2, 0, 0, 1])
    torch.testing.assert_close(steps_of(model, arch, given, order), scores_of(model, given)[order])


SEARCHES = [
    {"beam_size": 1, "max_len_b": 20},
    {"beam_size": 5, "max_len_a": 1, "max_len_b": 5},
    {"beam_size": 4, "min_len": 6, "max_len_b": 12},
    {"beam_size": 3, "len_penalty": 0.3, "unk_penalty": 2.0, "max_len_b": 20},
    {"beam_size": 4, "normalize_scores": False, "max_len_b": 20},
    {"beam_size": 40, "max_len_b": 8},
]


@every_path
@every_translator
@pytest.mark.parametrize("options", SEARCHES)
def test_our_search_equals_fairseqs(arch, options):
    model, sample = build(arch, dtype=torch.float32).eval(), sentences(7, 6)
    ours, theirs = (
        hypotheses(kind, model, sample, **options)
        for kind in (TiedSequenceGenerator, SequenceGenerator)
    )
    assert_same(ours, theirs)


@every_path
@every_case
def test_chunked_loss_equals_the_full_one(arch, tying):
    model, (given, target) = build(arch, tying).train(), inputs_for(arch)
    chunked = loss_of(model, given, target)
    gradients = torch.autograd.grad(chunked, list(model.parameters()))
    log_probabilities = scores_of(model, given).log_softmax(-1)
    nll = -log_probabilities.gather(2, target.unsqueeze(2)).squeeze(2)
    rest = -log_probabilities.sum(2) - nll
    kept = target.ne(JOINT.pad())
    full = (0.9 * nll + 0.1 / (len(JOINT) - 1) * rest)[kept].sum()
    torch.testing.assert_close(chunked, full)
    expected = torch.autograd.grad(full, list(model.parameters()))
    for gradient, exact in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, exact)


@every_path
@every_translator
def test_two_passes_of_a_sentence_drop_other_units(arch):
    """What R-Drop stands on."""
    given, target = inputs_for(arch)
    given = {name: values.repeat_interleave(2, 0) for name, values in given.items()}
    model, real = build(arch, dropout=0.4).train(), target.ne(JOINT.pad())
    for training, differ in ((True, True), (False, False)):
        features, _ = model.train(training)(**given, features_only=True)
        assert features[::2][real].ne(features[1::2][real]).any(1).all() == differ


@every_path
@every_case
def test_the_tied_gradient_is_the_sum_of_its_uses(arch, tying):
    """In float64, against the same model with ``none`` and equal matrices."""
    model, (given, target) = build(arch, tying), inputs_for(arch)
    apart = build(arch, NONE)
    weights = {name: value for name, value in model.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        for name, parameter in apart.named_parameters():
            parameter.copy_(weights[name])
    loss_of(model, given, target).backward()
    loss_of(apart, given, target).backward()
    uses = {}
    for name, parameter in apart.named_parameters():
        uses.setdefault(id(weights[name]), []).append(parameter.grad)
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, sum(uses[id(parameter)]))


@every_path
@every_architecture
@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.02), (torch.float16, 0.002)])
def test_half_types_compute_close_to_the_exact(arch, dtype, near):
    """Loss and gradients, within a few units in their last place."""
    given, target = inputs_for(arch)
    model = build(arch, dtype=dtype)
    exact = copy.deepcopy(model).double()
    outcomes = []
    for one in (model, exact):
        loss = loss_of(one, given, target)
        gradients = torch.autograd.grad(loss, list(one.parameters()))
        together = torch.cat([gradient.flatten() for gradient in gradients])
        assert together.dtype == one.output_layer.bias.dtype
        outcomes.append((scores_of(one, given), loss, together))
    for rough, expected in zip(*outcomes, strict=True):
        assert (rough.double() - expected).norm() < near * expected.norm()


@every_architecture
def test_without_an_output_bias_it_stays_zero(arch):
    model, (given, target) = build(arch, noise=0.0, no_output_bias=True), inputs_for(arch)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = evaluated(model, arch)
    loss_of(model, given, target).backward()
    optimizer.step()
    assert model.output_layer.bias.abs().sum() == 0
    assert not torch.equal(evaluated(model, arch), before)


@every_architecture
def test_training_without_an_output_bias_starts_from_a_model_without(arch):
    without, trained = build(arch, noise=0.0, no_output_bias=True), build(arch)
    without.load_state_dict(trained.state_dict())
    assert torch.equal(evaluated(without, arch), evaluated(trained, arch))
    refused = pytest.raises(UserError, match="--no-output-bias: the checkpoint has an output bias")
    with refused, without.updating():
        pass
    without.load_state_dict(build(arch, noise=0.0, no_output_bias=True).state_dict())
    with without.updating():
        pass


@every_architecture
def test_a_model_put_together_by_hand_loads_and_trains(arch):
    """Without ``build``, of another model's parts."""
    model = build(arch, NONE)
    by_hand = type(model)(*model.children())
    by_hand.load_state_dict({name: value + 1 for name, value in by_hand.state_dict().items()})
    with by_hand.updating():
        assert evaluated(by_hand, arch).isfinite().all()


# of the first checkpoints, which had these options of every model alone
FIRST = {"tying", "projection"}
SINCE = {
    "tied_lstm_lm": {"single_bias", "last_hidden_size", "hidden_dropout", "weight_dropout"},
    "tied_transformer_gru": {"decoder_input_scale"},
}


@every_architecture
@pytest.mark.parametrize("as_fairseq", [False, True])
def test_a_configuration_from_before_the_options(arch, as_fairseq):
    """Lookups were not scaled then, whatever today's default is."""
    options = {**vars(MODEL_DATACLASS_REGISTRY[arch]()), **ARCHITECTURES[arch]}
    since = {field.name for field in fields(TiedModelConfig)} - FIRST
    if arch in ("tied_lstm_lm", "tied_rhn_lm"):
        since |= {"activation_penalty", "temporal_activation_penalty"}
    since |= SINCE.get(arch, set())
    old = {name: value for name, value in options.items() if name not in since}
    config = OmegaConf.create({"model": {**old, "projection": True, "_name": "of_another_arch"}})
    OmegaConf.set_struct(config, as_fairseq)
    kind = ARCH_MODEL_REGISTRY[arch]
    if as_fairseq:
        task = SimpleNamespace(
            source_dictionary=JOINT, target_dictionary=JOINT, cfg=SimpleNamespace(data="")
        )
        model = kind.build_model(config.model, task)
    else:
        model = kind.build(config.model, None if arch in LANGUAGE_MODELS else JOINT, JOINT)
    assert {scale.value for _, scale in model.lookups.values()} == {1.0}
    assert model.tie_map.tying == NONE
    assert set(config.model) == {*old, "projection", "_name"}


# --- the tie survives ---------------------------------------------------------------------------


def saved(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file


@every_case
def test_each_matrix_is_stored_once(arch, tying):
    model = build(arch, tying)
    assert_tied(model, arch, tying)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    stored = {n: value for n, value in model.state_dict().items() if value.is_floating_point()}
    sizes = [value.numel() for name, value in stored.items() if "scale.constant" not in name]
    assert sum(sizes) == numbers == model.tie_map.total
    assert saved(model).getbuffer().nbytes < 8 * numbers + 2_000 + 600 * len(model.state_dict())


@every_case
@pytest.mark.parametrize("assign", [False, True])
def test_the_tie_survives_saving_and_loading(arch, tying, assign):
    model, other = build(arch, tying), build(arch, tying, seed=8)
    file = saved(model)
    file.seek(0)
    nn.Module.load_state_dict(other, torch.load(file), strict=True, assign=assign)
    assert_tied(other, arch, tying)
    assert torch.equal(evaluated(model, arch), evaluated(other, arch))


@every_case
def test_the_tie_survives_the_meta_device(arch, tying):
    model = build(arch, tying)
    other = build(arch, tying, seed=8).to("meta").to_empty(device="cpu")
    other.load_state_dict(model.state_dict())
    assert_tied(other, arch, tying)
    assert torch.equal(evaluated(model, arch), evaluated(other, arch))
    with torch.device("meta"):
        built_there = build(arch, tying)
    built_there.to_empty(device="cpu").to(torch.float64).load_state_dict(model.state_dict())
    assert_tied(built_there, arch, tying)
    assert torch.equal(evaluated(model, arch), evaluated(built_there, arch))


@pytest.fixture
def one_process():
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@every_case
def test_the_tie_survives_sharding(arch, tying, one_process):
    """FSDP2 puts parameters of its own in the place of all; examples/sharded_training.py."""
    model, (given, target) = build(arch, tying), inputs_for(arch)
    sharded, other = (
        fully_shard(copy.deepcopy(one), mesh=one_process)
        for one in (model, build(arch, tying, seed=8))
    )
    for one in (model, sharded):
        loss_of(one, given, target).backward()
    assert_tied(sharded, arch, tying)
    for one, whole in zip(sharded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad.full_tensor(), whole.grad)
    other.load_state_dict(sharded.state_dict())
    assert_tied(other, arch, tying)
    assert torch.equal(evaluated(other, arch), evaluated(model, arch))


@every_case
def test_the_tie_survives_copies_dtypes_and_averages(arch, tying):
    model = build(arch, tying, dtype=torch.float32)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_tied(twin, arch, tying)
        assert twin.embeddings.target.weight is not model.embeddings.target.weight
        assert torch.equal(evaluated(twin, arch), evaluated(model, arch))
        twin.load_state_dict(model.state_dict())
        assert_tied(twin.half().bfloat16().float(), arch, tying)
    average = build_ema(model, EMAConfig(store_ema=True, ema_decay=0.5), "cpu")
    with torch.no_grad():
        model.embeddings.target.weight.add_(1)
    old = average.model.embeddings.target.weight.detach().clone()
    average.step(model)
    assert_tied(average.model, arch, tying)
    torch.testing.assert_close(average.model.embeddings.target.weight, old + 0.5)
    states = [build(arch, tying, seed=seed).state_dict() for seed in (1, 2)]
    mean = {name: sum(state[name] for state in states) / 2 for name in states[0]}
    mean["vocabulary_version"] = states[0]["vocabulary_version"]
    averaged = build(arch, tying)
    averaged.load_state_dict(mean)
    assert_tied(averaged, arch, tying)


@every_case
def test_a_parametrisation_is_seen_by_all_uses(arch, tying):
    class Halved(nn.Module):
        def forward(self, weight):
            return weight / 2

    model, expected = build(arch, tying), build(arch, tying)
    embeddings = (model.embeddings.source, model.embeddings.target)
    embeddings = {id(e): e for e in (*embeddings, model.output_layer.embedding) if e is not None}
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            if "embedding.weight" in name:
                parameter.div_(2)
    for embedding in embeddings.values():
        parametrize.register_parametrization(embedding, "weight", Halved())
    assert len(embeddings) == len(expected.tie_map.groups)
    assert torch.equal(evaluated(model, arch), evaluated(expected, arch))


@every_architecture
def test_a_state_may_be_loaded_more_than_once(arch):
    model, first, second = (build(arch, seed=seed) for seed in (7, 8, 9))
    weights = model.state_dict()
    for loaded in (first, second):
        loaded.load_state_dict(weights)
        assert_tied(loaded, arch, loaded.tie_map.tying)
        assert torch.equal(evaluated(model, arch), evaluated(loaded, arch))


@every_case
def test_a_checkpoint_of_other_dictionaries_is_refused(arch, tying):
    """Of the same size: it is the entries that count."""
    other = dictionary(f"v{i}" for i in range(len(JOINT) - 4))
    assert len(other) == len(JOINT)
    with pytest.raises(CheckpointError, match="other dictionaries"):
        build(arch, tying).load_state_dict(build(arch, tying, words=other).state_dict())


def test_an_error_that_is_not_of_the_state_is_told_as_itself(monkeypatch):
    model = build("tied_gru")

    def fail(*_, **__):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(nn.Module, "load_state_dict", fail)
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory$"):
        model.load_state_dict({})


@every_architecture
def test_a_checkpoint_of_other_sizes_is_refused(arch):
    with pytest.raises(CheckpointError, match=r"another model; give the --arch.*size mismatch"):
        build(arch, embed_dim=10).load_state_dict(build(arch).state_dict())


@pytest.fixture(scope="module")
def process_group():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@every_case
def test_the_tie_survives_data_parallelism_and_a_resume(arch, tying, process_group):
    model, (given, target) = build(arch, tying), inputs_for(arch)
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def update(parallel, optimizer):
        features, _ = parallel(**given, features_only=True)
        layer, rows = parallel.module.output_layer, features.flatten(0, 1)
        optimizer.zero_grad()
        layer.loss(rows, target.flatten(), JOINT.pad()).loss.backward()
        optimizer.step()

    update(parallel, optimizer)
    assert_tied(model, arch, tying)
    resumed = build(arch, tying, seed=8)
    resumed.load_state_dict(model.state_dict())
    again = torch.optim.Adam(resumed.parameters(), lr=0.01)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    update(parallel, optimizer)
    update(nn.parallel.DistributedDataParallel(resumed), again)
    assert_tied(resumed, arch, tying)
    assert torch.equal(evaluated(model, arch), evaluated(resumed, arch))


@pytest.mark.parametrize(
    ("arch", "less", "more"),
    [
        (arch, less, more)
        for arch in ARCHITECTURES
        for less, more in (
            [(NONE, DECODER)]
            if arch in LANGUAGE_MODELS
            else itertools.product((NONE, INPUTS, DECODER), (INPUTS, DECODER, THREE_WAY))
        )
        if less != more
    ],
)
def test_a_checkpoint_that_ties_less_is_refused(arch, less, more):
    """Otherwise all but one of its matrices would be lost without a word."""
    with pytest.raises(CheckpointError, match="--tying"):
        build(arch, more).load_state_dict(build(arch, less).state_dict())


@every_architecture
def test_a_checkpoint_that_ties_less_loads_where_its_matrices_are_equal(arch):
    apart, tied = build(arch, NONE), build(arch, seed=8)
    embeddings = apart.embeddings
    with torch.no_grad():
        embeddings.output.embedding.weight.copy_(embeddings.target.weight)
        if embeddings.source is not None:
            embeddings.source.weight.copy_(embeddings.target.weight)
    tied.load_state_dict(apart.state_dict())
    assert torch.equal(evaluated(apart, arch), evaluated(tied, arch))


@every_case
def test_encoder_and_decoder_load_alone(arch, tying, tmp_path):
    """By fairseq's ``load_pretrained_component_from_model``, though each matrix is stored once."""
    model, other = build(arch, tying), build(arch, tying, seed=8)
    torch.save(checkpoint_of(model), tmp_path / "tied.pt")
    parts = ("decoder",) if arch in LANGUAGE_MODELS else ("decoder", "encoder")
    for part in parts:
        component = getattr(other, part)
        checkpoint_utils.load_pretrained_component_from_model(component, str(tmp_path / "tied.pt"))
        expected = dict(getattr(model, part).named_parameters(remove_duplicate=False))
        for name, parameter in component.named_parameters(remove_duplicate=False):
            assert torch.equal(parameter, expected[name]), name
    assert_tied(other, arch, tying)
    assert torch.equal(evaluated(model, arch), evaluated(other, arch))


# --- layers that are not torch's own ------------------------------------------------------------


class Adapted(nn.Module):
    """A linear layer and what LoRA (Hu et al. 2021) adds to it."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(rank, layer.in_features).to(layer.weight.dtype))
        self.up = nn.Parameter(torch.randn(layer.out_features, rank).to(layer.weight.dtype))

    def forward(self, inputs):
        return self.layer(inputs) + 0.3 * (inputs @ self.down.t() @ self.up.t())


def linear_layers(model):
    return [name for name, module in model.named_modules() if type(module) is nn.Linear]


def adapted_and_merged(arch, names, dtype):
    """A model some of whose layers are adapted, and one whose weights are what these come to."""
    model, merged = (build(arch, dtype=dtype) for _ in range(2))
    torch.manual_seed(4)
    for name in names:
        adapter = Adapted(model.get_submodule(name))
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter)
        with torch.no_grad():
            merged.get_submodule(name).weight.add_(0.3 * adapter.up @ adapter.down)
    return model, merged


def choices_of_layers(arch):
    names = linear_layers(build(arch))
    assert names
    of_each_kind = {re.sub(r"\d+", "", name): name for name in names}
    return [names, *([name] for name in of_each_kind.values())]


@every_path
@every_architecture
def test_adapted_layers_train_and_decode_as_those_they_come_to(arch):
    """All, and one of each kind: some are parts of one product where they are torch's own."""
    given, target = inputs_for(arch)
    for names in choices_of_layers(arch):
        models = adapted_and_merged(arch, names, torch.float64)
        scores = [scores_of(one, given) for one in models]
        torch.testing.assert_close(*scores, msg=f"{names}")
        gradients = []
        for one in models:
            loss_of(one, given, target).backward()
            named = one.named_parameters()
            gradients.append({name.replace(".layer.", "."): p.grad for name, p in named})
        for name, expected in gradients[1].items():
            torch.testing.assert_close(gradients[0][name], expected, msg=f"{names}: {name}")
        adapters = [m for m in models[0].modules() if isinstance(m, Adapted)]
        assert len(adapters) == len(names)
        assert all(a.up.grad.abs().sum() > 0 and a.down.grad.abs().sum() > 0 for a in adapters)
        with torch.no_grad():
            steps = steps_of(prepared_for_inference(models[0]), arch, given)
        torch.testing.assert_close(steps, scores[1], msg=f"{names}")


@every_path
@every_translator
def test_adapted_layers_are_searched_with(arch):
    sample, options = sentences(5, 5), {"beam_size": 3, "max_len_b": 9}
    for names in choices_of_layers(arch):
        adapted, merged = adapted_and_merged(arch, names, torch.float32)
        assert_same(
            hypotheses(TiedSequenceGenerator, prepared_for_inference(adapted), sample, **options),
            hypotheses(SequenceGenerator, merged.eval(), sample, **options),
        )


@every_path
@every_architecture
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_quantised_by_type(arch):
    """By torch's own ``quantize_dynamic``."""
    model = build(arch, dtype=torch.float32, input_scale="1").eval()  # no hypothesis near another
    exact, given = evaluated(model, arch), inputs_for(arch)[0]
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    assert linear_layers(model) and not linear_layers(quantised)
    for prepared in (quantised, prepared_for_inference(quantised)):
        with torch.no_grad():
            outcomes = scores_of(prepared, given), steps_of(prepared, arch, given)
        for rounded in outcomes:
            assert 0 < (rounded - exact).norm() < 0.05 * exact.norm()
    if arch not in LANGUAGE_MODELS:
        sample, options = sentences(5, 5), {"beam_size": 3, "max_len_b": 9}
        ours, theirs = (
            hypotheses(TiedSequenceGenerator, one, sample, **options) for one in (quantised, model)
        )
        for beam, expected in zip(ours, theirs, strict=True):
            assert beam[0]["score"].item() == pytest.approx(expected[0]["score"].item(), abs=0.05)


# --- decoding -----------------------------------------------------------------------------------


def prepared_for_inference(model, **options):
    generation = {"no_beamable_mm": True, "retain_dropout_modules": None, **options}
    model.prepare_for_inference_(OmegaConf.create({"generation": generation}))
    return model


@every_path
@every_architecture
def test_gradients_are_the_same_after_freezing(arch):
    model, (given, target) = build(arch, dtype=torch.float32).eval(), inputs_for(arch)
    expected = torch.autograd.grad(loss_of(model, given, target), list(model.parameters()))
    scored = torch.autograd.grad(scores_of(model, given).sum(), list(model.parameters()))
    prepared_for_inference(model)
    for loss, before in ((loss_of(model, given, target), expected), (None, scored)):
        loss = scores_of(model, given).sum() if loss is None else loss
        after = torch.autograd.grad(loss, list(model.parameters()))
        assert all(map(torch.equal, after, before))


@every_path
@every_architecture
@pytest.mark.parametrize("kind", [PackedLinear, Int8Linear])
def test_frozen_weights_follow_every_change(arch, kind):
    """``load_state_dict``, an edit in place and a new parameter, in full and step by step."""
    model, given = build(arch, dtype=torch.float32).eval(), inputs_for(arch)[0]
    model.freeze_for_decoding(kind)

    def check():
        fresh = build(arch, dtype=torch.float32).eval()
        fresh.load_state_dict(model.state_dict())
        fresh.freeze_for_decoding(kind)
        with torch.no_grad():
            assert torch.equal(scores_of(model, given), scores_of(fresh, given))
            steps = (steps_of(one, arch, given) for one in (model, fresh))
            torch.testing.assert_close(*steps)

    check()
    model.load_state_dict(build(arch, dtype=torch.float32, seed=9).state_dict())
    check()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    check()
    other = build(arch, dtype=torch.float32, seed=10).state_dict()
    nn.Module.load_state_dict(model, other, assign=True)
    check()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert evaluated(model, arch).abs().max() == 0


@every_path
@every_translator
def test_a_search_translates_with_the_weights_of_the_moment(arch):
    model, sample = prepared_for_inference(build(arch, dtype=torch.float32)), sentences(6, 5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        generator = TiedSequenceGenerator([model], JOINT, beam_size=3, max_len_b=9)
        for seed in (8, 9):
            model.load_state_dict(build(arch, dtype=torch.float32, seed=seed).state_dict())
            with torch.no_grad():
                found = generator.generate([model], sample)
            fresh = build(arch, dtype=torch.float32, seed=seed).eval()
            expected = hypotheses(TiedSequenceGenerator, fresh, sample, beam_size=3, max_len_b=9)
            assert_same(found, expected)
    finally:
        torch.set_num_threads(before)


@every_path
@every_architecture
def test_int8_is_close(arch):
    model, given = build(arch, dtype=torch.float32).eval(), inputs_for(arch)[0]
    exact = evaluated(model, arch)
    model.freeze_for_decoding(Int8Linear)
    with torch.no_grad():
        rounded = steps_of(model, arch, given)
    assert 0 < (rounded - exact).norm() < 0.03 * exact.norm()
    model.freeze_for_decoding(None)
    assert torch.equal(evaluated(model, arch), exact)


@every_path
@every_architecture
def test_retained_dropout(arch):
    given = inputs_for(arch)[0]

    def twice(**options):
        model = prepared_for_inference(build(arch, dropout=0.5, dtype=torch.float32), **options)
        outcomes = []
        with torch.no_grad():
            for seed in (1, 1, 2):
                torch.manual_seed(seed)
                outcomes.append((scores_of(model, given), steps_of(model, arch, given)))
        return outcomes

    for same, again, other in zip(*twice(), strict=True):
        assert torch.equal(same, again) and torch.equal(same, other)
    for same, again, other in zip(*twice(retain_dropout=True), strict=True):
        assert torch.equal(same, again) and not torch.equal(same, other)
    model = build(arch, dropout=0.5)
    owners = sorted({m.owner for m in model.modules() if isinstance(m, Dropping) and m.owner})
    for wanted in (owners[:1], owners[0], f"{owners[0]}, {owners[-1]}", owners):
        model = build(arch, dropout=0.5)
        prepared_for_inference(model, retain_dropout=True, retain_dropout_modules=wanted)
        for module in model.modules():
            if isinstance(module, Dropping):
                assert module.retained == (str(module.owner) in wanted)
    with pytest.raises(UserError, match=rf"modules {owners[0][:-1]}: no such modules; .* has "):
        prepared_for_inference(
            build(arch), retain_dropout=True, retain_dropout_modules=owners[0][:-1]
        )


# --- what tools see -----------------------------------------------------------------------------


@every_case
def test_a_checkpoint_tells_which_matrices_are_one(arch, tying):
    model = build(arch, tying)
    tie_map = tie_map_of(model.state_dict(), type(model).parameter_names)
    assert tie_map == model.tie_map == TieMap.from_json(json.loads(json.dumps(tie_map.to_json())))
    expected = 2 - (tying == DECODER) if arch in LANGUAGE_MODELS else MATRICES[tying]
    assert len(tie_map.groups) == expected
    assert {rows for _, (rows, _) in tie_map.groups} == {len(JOINT)}
    assert f"tie:{tying}|vocab:{len(JOINT)}|" in tie_map.signature
    assert f"|matrices:{expected}|" in tie_map.signature


@every_path
@every_architecture
def test_medium_reaches_every_product_that_counts(arch, monkeypatch):
    """A product that rounds its weight to bfloat16 does not see what was rounded off before."""
    monkeypatch.setattr(linear_module, "has_bfloat16_products", lambda: True)
    model, (given, target) = build(arch, NONE, dtype=torch.float32).train(), inputs_for(arch)
    # torch's LSTM kernel rounds nothing; a lookup is no product
    left_out = [m for m in model.modules() if isinstance(m, nn.LSTM)]
    left_out += [m for m in (model.embeddings.source, model.embeddings.target) if m is not None]
    others = {id(parameter) for module in left_out for parameter in module.parameters()}
    weights = [p for p in model.parameters() if p.dim() == 2 and id(p) not in others]
    output = model.output_layer
    assert any(weight is output.embedding.weight for weight in weights)

    def outcome():
        loss = loss_of(model, given, target)
        return torch.cat((loss.view(1), *torch.autograd.grad(loss, [output.bias])))

    before = [weight.clone() for weight in weights]
    for precision, same in (("highest", False), ("medium", True)):
        linear_module.set_matmul_precision(model, precision)
        with torch.no_grad():
            for weight, exact in zip(weights, before, strict=True):
                weight.copy_(exact)
        exact_outcome = outcome()
        with torch.no_grad():
            for weight in weights:
                weight.copy_(weight.bfloat16())
        assert torch.equal(outcome(), exact_outcome) == same


@every_path
@every_architecture
def test_two_models_of_different_precision_compute_each_as_told(arch, monkeypatch):
    monkeypatch.setattr(linear_module, "has_bfloat16_products", lambda: True)
    given, target = inputs_for(arch)
    exact, rounded = (
        build(arch, dtype=torch.float32, float32_matmul_precision=precision)
        for precision in ("highest", "medium")
    )
    reference = copy.deepcopy(exact).double()
    losses = [loss_of(model, given, target) for model in (exact, rounded, reference)]
    for loss in losses:
        loss.backward()
    grads = [
        torch.cat([parameter.grad.flatten().double() for parameter in model.parameters()])
        for model in (exact, rounded, reference)
    ]
    assert (grads[0] - grads[2]).norm() < 1e-4 * grads[2].norm()
    assert 1e-4 * grads[2].norm() < (grads[1] - grads[2]).norm() < 0.1 * grads[2].norm()
