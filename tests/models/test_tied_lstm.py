"""tied_lstm beside fairseq's lstm with the same weights, its options, and its variations."""

import argparse
from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.lstm import LSTMModel
from fairseq.sequence_generator import SequenceGenerator
from torch.nn.functional import cross_entropy

from scripts.lab.architectures import model_config
from tests.models import contract
from tests.models.test_habits import config
from tests.support.searches import hypotheses, sentences
from tests.support.small_models import JOINT, batch
from tiednmt.errors import CheckpointError, UserError
from tiednmt.models.tied_lstm import STOCK, TiedLSTMModel
from tiednmt.modules.packing import move_padding_right
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator

EMBEDDINGS = {"encoder_embed_dim": 6, "decoder_embed_dim": 6, "decoder_out_embed_dim": 6}
# what both spell alike
OPTIONS = {
    "as it comes": EMBEDDINGS,
    "two layers in both directions": {
        **EMBEDDINGS,
        "encoder_hidden_size": 4,
        "encoder_bidirectional": True,
        "encoder_layers": 2,
        "decoder_hidden_size": 5,
        "decoder_layers": 2,
    },
    "no attention": {**EMBEDDINGS, "decoder_attention": "False"},
    "every size another": {
        "encoder_embed_dim": 3,
        "encoder_hidden_size": 4,
        "decoder_embed_dim": 5,
        "decoder_hidden_size": 6,
        "decoder_out_embed_dim": 7,
    },
}
SHARED = {
    "none": {},
    "decoder": {"share_decoder_input_output_embed": True},
    "three-way": {"share_all_embeddings": True},
}
CASES = [
    (name, tying)
    for name in OPTIONS
    for tying in SHARED
    if name != "every size another" or tying == "none"
]
NEAR = 1e-9  # in float64, because fairseq's attention rounds its energies to single precision
every_case = pytest.mark.parametrize(("name", "tying"), CASES)


def lstm(tying="none", dtype=torch.float64, dropout=0.0, **given):
    """Our model, with biases and padding rows that are not zero."""
    options = model_config("tied_lstm", tying=tying, dropout=dropout, **given)
    torch.manual_seed(7)
    model = TiedLSTMModel.build(options, JOINT, JOINT).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def fairseqs(name, tying, dtype=torch.float64, seed=3):
    """fairseq's own model, with numbers in every parameter."""
    args = Namespace(**OPTIONS[name], **SHARED[tying], criterion="cross_entropy", dropout=0.0)
    task = Namespace(source_dictionary=JOINT, target_dictionary=JOINT)
    torch.manual_seed(seed)
    model = LSTMModel.build_model(args, task).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def both(name, tying, dtype=torch.float64):
    """fairseq's model, and ours with its weights, in evaluation."""
    theirs, ours = fairseqs(name, tying, dtype), lstm(tying, dtype, **OPTIONS[name])
    ours.load_state_dict(theirs.state_dict())
    assert ours.tie_map.tying == tying
    return ours.eval(), theirs.eval()


def of_words(values, target):
    return values[target.ne(JOINT.pad())]


@pytest.mark.usefixtures("cpu_path")
class TestBesideFairseqs:
    @every_case
    def test_scores_and_attention(self, name, tying):
        ours, theirs = both(name, tying)
        given, target = batch()
        found, expected = ours(**given), theirs(**given)
        scores = (of_words(scores, target) for scores in (found[0], expected[0]))
        torch.testing.assert_close(*scores, rtol=0, atol=NEAR)
        attention = found[1]["attn"]
        assert (attention is None) == (expected[1] is None) == (name == "no attention")
        if attention is not None:  # fairseq's columns are those of a source padded on the right
            columns = move_padding_right(given["src_tokens"], JOINT.pad())[2]
            moved = attention.gather(2, columns.unsqueeze(1).expand_as(attention))
            pair = (of_words(values, target) for values in (moved, expected[1]))
            torch.testing.assert_close(*pair, rtol=0, atol=NEAR)

    @every_case
    def test_gradients(self, name, tying):
        given, target = batch()
        gradients = []
        for model in both(name, tying):
            scores = model.train()(**given)[0].flatten(0, 1)
            cross_entropy(scores, target.flatten(), ignore_index=JOINT.pad()).backward()
            gradients.append({n: parameter.grad for n, parameter in model.named_parameters()})
        found = gradients[0]
        bias = found.pop("decoder.output.bias")
        # carried to fairseq's names as weights are
        carried = {
            **both(name, tying)[0].state_dict(),
            **found,
            "decoder.output.bias": bias * (tying == "none"),
        }
        of_stock = STOCK.to_stock(carried)
        assert set(of_stock) >= set(gradients[1])
        for stock, expected in gradients[1].items():
            torch.testing.assert_close(of_stock[stock], expected, rtol=0, atol=NEAR)

    @torch.no_grad()
    @every_case
    def test_searches(self, name, tying):
        """Ours with our model, and fairseq's with its own: incremental decoding on both sides."""
        ours, theirs = both(name, tying, torch.float32)
        sample, search = sentences(7, 6), {"beam_size": 4, "max_len_b": 10}
        order = sample["net_input"]["src_lengths"].argsort(descending=True)  # as fairseq's wants it
        sample = {"net_input": {name: rows[order] for name, rows in sample["net_input"].items()}}
        for theirs_found, ours_found in zip(
            hypotheses(SequenceGenerator, theirs, sample, **search),
            hypotheses(TiedSequenceGenerator, ours, sample, **search),
            strict=True,
        ):
            for one, other in zip(theirs_found, ours_found, strict=True):
                assert one["tokens"].tolist() == other["tokens"].tolist()
                torch.testing.assert_close(
                    one["positional_scores"], other["positional_scores"], atol=1e-5, rtol=1e-5
                )


class TestCheckpointsOfFairseqs:
    @every_case
    def test_there_and_back(self, name, tying):
        ours, theirs = both(name, tying)
        again = fairseqs(name, tying, seed=4)
        again.load_state_dict(STOCK.to_stock(ours.state_dict()), strict=True)
        given, _ = batch()
        assert torch.equal(again.eval()(**given)[0], theirs(**given)[0])

    def test_tied_inputs_are_two_matrices_there(self):
        name = "as it comes"
        ours, theirs = lstm("inputs", **OPTIONS[name]).eval(), fairseqs(name, "none").eval()
        theirs.load_state_dict(STOCK.to_stock(ours.state_dict()), strict=True)
        assert_same_scores(ours, theirs)

    def test_matrices_that_are_equal_are_not_tied_there(self):
        """As in a model that was untied: fairseq's lstm then has an output of its own."""
        name = "as it comes"
        ours, theirs = lstm("none", **OPTIONS[name]).eval(), fairseqs(name, "none").eval()
        with torch.no_grad():
            ours.decoder.output.embedding.weight.copy_(ours.decoder.embedding.weight)
        theirs.load_state_dict(STOCK.to_stock(ours.state_dict()), strict=True)
        assert_same_scores(ours, theirs)

    @pytest.mark.parametrize("input_scale", ["1", "3", "learned"])
    @pytest.mark.parametrize("name", OPTIONS)
    def test_a_factor_of_the_lookups_moves_into_what_reads_them(self, name, input_scale):
        """For every use by itself; the matrix may be tied."""
        ours = lstm(input_scale=input_scale, **OPTIONS[name]).eval()
        theirs = fairseqs(name, "none").eval()
        theirs.load_state_dict(STOCK.to_stock(ours.state_dict()), strict=True)
        assert_same_scores(ours, theirs)

    @every_case
    def test_fairseqs_state_brings_its_factor_of_1(self, name, tying):
        theirs = fairseqs(name, tying).eval()
        ours = lstm(tying, input_scale="3", **OPTIONS[name]).eval()
        ours.load_state_dict(theirs.state_dict())
        assert_same_scores(ours, theirs)

    @pytest.mark.parametrize("layers", [1, 2])
    def test_without_input_feeding_what_is_fed_there_counts_for_nothing(self, layers):
        name = ("as it comes", "two layers in both directions")[layers - 1]
        ours = lstm(no_input_feeding=True, **OPTIONS[name]).eval()
        theirs = fairseqs(name, "none").eval()
        theirs.load_state_dict(STOCK.to_stock(ours.state_dict()), strict=True)
        assert_same_scores(ours, theirs)

    def test_what_fairseqs_has_not_is_refused(self):
        for tying in ("decoder", "three-way"):
            with pytest.raises(CheckpointError, match=r"no output bias.*--no-output-bias"):
                STOCK.to_stock(lstm(tying, embed_dim=6).state_dict())
        with pytest.raises(CheckpointError, match="--projection: fairseq's lstm has no P"):
            STOCK.to_stock(lstm(embed_dim=6, projection=True).state_dict())

    def test_what_ours_has_not_is_refused(self):
        state = fairseqs("as it comes", "none").state_dict()
        with pytest.raises(CheckpointError, match=r"another model.*weight_ih_l0"):
            lstm(no_input_feeding=True, **OPTIONS["as it comes"]).load_state_dict(dict(state))
        with pytest.raises(CheckpointError, match=r"parts that this arch.*decoder\.adaptive"):
            odd = {**state, "decoder.adaptive.weight": torch.ones(6, 6)}
            lstm(**OPTIONS["as it comes"]).load_state_dict(odd)
        with pytest.raises(CheckpointError, match="ties less"):
            lstm("three-way", **OPTIONS["as it comes"]).load_state_dict(dict(state))


def assert_same_scores(ours, theirs):
    given, target = batch()
    pair = (of_words(model(**given)[0], target) for model in (ours, theirs))
    torch.testing.assert_close(*pair, rtol=0, atol=NEAR)


# what differs from the line in the contract
VARIATIONS = {
    "one direction, one layer": {
        **{"encoder_bidirectional": False, "encoder_layers": 1},
        **{"encoder_hidden_size": 6, "decoder_hidden_size": 6},
    },
    "no input feeding": {"no_input_feeding": True},
    "no attention": {"decoder_attention": "0"},
    "neither": {"decoder_attention": "0", "no_input_feeding": True},
}
CHECKS = [
    contract.test_side_of_padding,
    contract.test_a_sentence_scores_alone_as_in_a_batch,
    contract.test_incremental_decoding_equals_teacher_forcing,
    contract.test_reordering_moves_sentences_with_their_state,
    contract.test_adapted_layers_train_and_decode_as_those_they_come_to,
    contract.test_gradients_are_the_same_after_freezing,
    contract.test_int8_is_close,
    contract.test_retained_dropout,
]


@pytest.mark.usefixtures("cpu_path")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", VARIATIONS)
def test_the_contract_of_variations(monkeypatch, name, check):
    sizes = {**contract.ARCHITECTURES["tied_lstm"], **VARIATIONS[name]}
    monkeypatch.setitem(contract.ARCHITECTURES, "tied_lstm", sizes)
    check("tied_lstm")


@pytest.mark.usefixtures("cpu_path")
@pytest.mark.parametrize("name", VARIATIONS)
def test_variations_are_searched_as_by_fairseq(monkeypatch, name):
    sizes = {**contract.ARCHITECTURES["tied_lstm"], **VARIATIONS[name]}
    monkeypatch.setitem(contract.ARCHITECTURES, "tied_lstm", sizes)
    contract.test_our_search_equals_fairseqs("tied_lstm", contract.SEARCHES[1])


def test_embeddings_of_several_sizes():
    sizes = {"encoder_embed_dim": 3, "decoder_embed_dim": 5, "decoder_out_embed_dim": 7}
    built = lstm(input_scale="sqrt-dim", projection=True, **sizes)
    assert [shape for _, shape in built.tie_map.groups] == [(23, 3), (23, 5), (23, 7)]
    assert "|dim:3+5+7|" in built.tie_map.signature
    assert built.tie_map.others["projection P"] == 7 * 7
    scales = [scale.value for _, scale in built.lookups.values()]
    assert scales == pytest.approx([3**0.5, 5**0.5])
    lstm("inputs", **{**sizes, "decoder_embed_dim": 3})
    lstm("decoder", **{**sizes, "decoder_out_embed_dim": 5})


@pytest.mark.parametrize(
    ("tying", "one", "other"),
    [
        ("inputs", "source input embedding, whose rows have 3", "target .*, whose rows have 5"),
        ("decoder", "target input embedding, whose rows have 5", "output .*, whose rows have 7"),
        ("three-way", "target input embedding", "output embedding"),
    ],
)
def test_embeddings_of_several_sizes_are_not_one_matrix(tying, one, other):
    with pytest.raises(UserError, match=f"--tying {tying} makes one matrix of the {one}.*{other}"):
        lstm(tying, encoder_embed_dim=3, decoder_embed_dim=5, decoder_out_embed_dim=7)


@pytest.mark.parametrize("value", ["1", "True", "true", 1])
def test_attention_is_on(value):
    assert lstm(embed_dim=4, decoder_attention=value).decoder.cell.attention is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder_attention": "perhaps"}, "--decoder-attention perhaps: must be 1 or 0"),
        ({"encoder_layers": 2, "decoder_layers": 1}, "--encoder-layers 2 must match .*layers 1"),
        ({"decoder_hidden_size": 0}, "--decoder-hidden-size 0"),
        ({"encoder_dropout_in": 1.0}, "--encoder-dropout-in 1.0"),
    ],
)
def test_options_out_of_range(given, message):
    with pytest.raises(UserError, match=message):
        lstm(**{"embed_dim": 4, **given})


@pytest.mark.parametrize(
    "place",
    ["encoder_dropout_in", "encoder_dropout_out", "decoder_dropout_in", "decoder_dropout_out"],
)
def test_each_dropout_has_an_option(place):
    built, (given, _) = lstm(embed_dim=4, **{place: 0.5}).train(), batch()
    assert not torch.equal(built(**given)[0], built(**given)[0])
    assert torch.equal(built.eval()(**given)[0], built(**given)[0])


def test_a_seed_repeats_an_update():
    given, _ = batch(lengths=range(20, 0, -1), target_lengths=range(20, 0, -1))
    gradients = []
    for _ in range(2):
        built = lstm(embed_dim=4, encoder_layers=2, dropout=0.5).train()
        torch.manual_seed(5)
        built(**given)[0].logsumexp(2).sum().backward()
        gradients.append([parameter.grad for parameter in built.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


# options that are in both, with the same names
ALIKE = [
    "dropout",
    *(
        f"{side}_{name}"
        for side in ("encoder", "decoder")
        for name in ("embed_dim", "hidden_size", "layers", "dropout_in", "dropout_out")
    ),
    *("encoder_bidirectional", "decoder_out_embed_dim", "decoder_attention"),
]


def fairseqs_options(arch, *words):
    """What an ``--arch`` of fairseq's makes of the words after it."""
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    LSTMModel.add_args(parser)
    args = parser.parse_args(words)
    ARCH_CONFIG_REGISTRY[arch](args)
    return vars(args)


@pytest.mark.parametrize(
    ("arguments", "tying"),
    [
        ("lstm", "none"),
        ("lstm_wiseman_iwslt_de_en --dropout 0.3", "none"),
        ("lstm_luong_wmt_en_de --share-all-embeddings", "three-way"),
        ("lstm --encoder-embed-dim 6 --decoder-embed-dim 7 --decoder-attention False", "none"),
        ("lstm --encoder-bidirectional --encoder-hidden-size 9 --decoder-embed-dim 5", "none"),
        ("lstm --encoder-layers 2 --decoder-layers 2 --decoder-out-embed-dim 5", "none"),
        ("lstm --dropout 0.3 --encoder-dropout-in 0.2 --decoder-dropout-out 0", "none"),
        ("lstm --share-decoder-input-output-embed --decoder-hidden-size 11", "decoder"),
    ],
)
def test_command_lines_of_fairseqs(arguments, tying):
    arch, *words = arguments.split()
    theirs, ours = fairseqs_options(arch, *words), config(f"tied_{arch}", *words)
    assert ours.tying == tying
    for name in ALIKE:  # fairseq converts what it reads of a command line later
        assert type(theirs[name])(ours[name]) == theirs[name], name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--decoder-freeze-embed", "--decoder-freeze-embed is not supported"),
        ("--tying none --share-all-embeddings", "--tying none contradicts --share-all-embeddings"),
    ],
)
def test_what_is_not_offered(arguments, message):
    with pytest.raises(UserError, match=message):
        config("tied_lstm", *arguments.split())
