"""What every architecture owes: the same tests over all of them, in every mode of tying.

A new architecture adds its line to ``ARCHITECTURES``.
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import os
import socket

import pytest
import torch
from fairseq.dataclass.configs import EMAConfig
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.models.ema import build_ema
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf
from torch import nn

import tests.support.toy_model  # noqa: F401
import tiednmt.plugin  # noqa: F401
from tests.support.searches import assert_same, hypotheses, sentences
from tests.support.small_models import JOINT, batch
from tiednmt.errors import CheckpointError
from tiednmt.models.parameters import tie_map_of
from tiednmt.modules import linear as linear_module
from tiednmt.modules.dropout import Dropping
from tiednmt.modules.frozen_linear import Int8Linear, PackedLinear
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator
from tiednmt.tying import DECODER, INPUTS, NONE, THREE_WAY, TieMap

# name of --arch → sizes that keep the tests quick
ARCHITECTURES = {
    "tied_gru": {
        "embed_dim": 6,
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 5,
        "attention_size": 7,
    },
    "tied_lstm_lm": {"embed_dim": 6, "hidden_size": 5},
    "tied_rhn_lm": {"embed_dim": 6, "hidden_size": 5, "depth": 2},
    "tied_toy": {},
}
LANGUAGE_MODELS = {"tied_lstm_lm", "tied_rhn_lm"}
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

pytestmark = pytest.mark.usefixtures("cpu_path")


def build(arch, tying=None, dtype=torch.float64, seed=7, **changes):
    """A small model whose padding rows and biases are not zero."""
    tying = tying or (DECODER if arch in LANGUAGE_MODELS else THREE_WAY)
    options = {**vars(MODEL_DATACLASS_REGISTRY[arch]()), **ARCHITECTURES[arch]}
    config = OmegaConf.create({"model": {**options, "dropout": 0.0, **changes}})
    config.model.tying = tying
    torch.manual_seed(seed)
    source = None if arch in LANGUAGE_MODELS else JOINT
    result = ARCH_MODEL_REGISTRY[arch].build(config.model, source, JOINT).to(dtype)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return result


def inputs_for(arch, **options):
    """What ``forward`` takes, and the targets."""
    given, target = batch(**options)
    if arch in LANGUAGE_MODELS:
        given = {"prev_output_tokens": given["prev_output_tokens"]}
        return {"src_tokens": given["prev_output_tokens"]}, target
    return given, target


def scores_of(model, given):
    return model(**given)[0]


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


@every_translator
def test_side_of_padding(arch):
    model = build(arch).eval()
    left, right = (scores_of(model, batch(left_pad=side)[0]) for side in (True, False))
    torch.testing.assert_close(left, right)


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
            model.decoder.reorder_incremental_state(state, order)
            columns = [column[order] for column in columns]
            if encoder_out is not None:
                encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
        encoded = {} if encoder_out is None else {"encoder_out": encoder_out}
        step, _ = model.decoder(tokens[:, : t + 1], incremental_state=state, **encoded)
        columns.append(step[:, 0])
    return torch.stack(columns, 1)


@every_architecture
def test_incremental_decoding_equals_teacher_forcing(arch):
    model, (given, _) = build(arch).eval(), inputs_for(arch)
    torch.testing.assert_close(steps_of(model, arch, given), scores_of(model, given))


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


@every_translator
@pytest.mark.parametrize("options", SEARCHES)
def test_our_search_equals_fairseqs(arch, options):
    model, sample = build(arch, dtype=torch.float32).eval(), sentences(7, 6)
    ours, theirs = (
        hypotheses(kind, model, sample, **options)
        for kind in (TiedSequenceGenerator, SequenceGenerator)
    )
    assert_same(ours, theirs)


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
    stored = [value for value in model.state_dict().values() if value.is_floating_point()]
    assert sum(value.numel() for value in stored) == numbers == model.tie_map.total
    assert saved(model).getbuffer().nbytes < 8 * numbers + 20_000


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


@every_case
def test_the_tie_survives_copies_dtypes_and_averages(arch, tying):
    model = build(arch, tying, dtype=torch.float32)
    twin = copy.deepcopy(model)
    assert_tied(twin, arch, tying)
    assert twin.embeddings.target.weight is not model.embeddings.target.weight
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


@pytest.fixture(scope="module")
def process_group():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
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


# --- decoding -----------------------------------------------------------------------------------


def prepared_for_inference(model, **options):
    generation = {"no_beamable_mm": True, "retain_dropout_modules": None, **options}
    model.prepare_for_inference_(OmegaConf.create({"generation": generation}))
    return model


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
    prepared_for_inference(model, retain_dropout=True, retain_dropout_modules=owners[:1])
    for module in model.modules():
        if isinstance(module, Dropping):
            assert module.retained == (module.owner == owners[0])


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
