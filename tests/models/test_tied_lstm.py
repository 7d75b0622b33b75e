"""tied_lstm beside fairseq's lstm with the same weights, its options, and its variations."""

from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.lstm import LSTMModel
from fairseq.sequence_generator import SequenceGenerator
from torch.nn.functional import cross_entropy

from scripts.lab.architectures import model_config
from tests.models import contract
from tests.support.searches import hypotheses, sentences
from tests.support.small_models import JOINT, batch
from tiednmt.errors import UserError
from tiednmt.models.tied_lstm import TiedLSTMModel
from tiednmt.modules.packing import move_padding_right
from tiednmt.tasks.sequence_generator import TiedSequenceGenerator

# where our parameters are in fairseq's model
RENAMED = {
    "encoder.embedding.": "encoder.embed_tokens.",
    "encoder.rnn.": "encoder.lstm.",
    "decoder.embedding.": "decoder.embed_tokens.",
    "decoder.initial_hidden.": "decoder.encoder_hidden_proj.",
    "decoder.initial_cells.": "decoder.encoder_cell_proj.",
    "decoder.cell.attention.query.": "decoder.attention.input_proj.",
    "decoder.cell.attention.mix.": "decoder.attention.output_proj.",
    "decoder.readout.": "decoder.additional_fc.",
    "decoder.output.embedding.": "decoder.fc_out.",
    "decoder.output.": "decoder.fc_out.",
}


def stock_name(name):
    if name.startswith("decoder.cell.rnn."):
        kind, _, layer = name.removeprefix("decoder.cell.rnn.").rpartition("_l")
        return f"decoder.layers.{layer}.{kind}"
    ours = next(ours for ours in RENAMED if name.startswith(ours))
    return RENAMED[ours] + name.removeprefix(ours)


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


def lstm(tying="none", dtype=torch.float64, dropout=0.0, **options):
    """Our model, with biases and padding rows that are not zero."""
    config = model_config("tied_lstm", tying=tying, dropout=dropout, **options)
    torch.manual_seed(7)
    model = TiedLSTMModel.build(config, JOINT, JOINT).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def both(name, tying, dtype=torch.float64):
    """Our model and fairseq's, with the same weights, in evaluation."""
    ours = lstm(tying, dtype, **OPTIONS[name])
    args = Namespace(**OPTIONS[name], **SHARED[tying], criterion="cross_entropy", dropout=0.0)
    task = Namespace(source_dictionary=JOINT, target_dictionary=JOINT)
    theirs = LSTMModel.build_model(args, task).to(dtype)
    weights = {stock_name(n): p for n, p in ours.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        for stock, parameter in theirs.named_parameters():
            parameter.copy_(weights.pop(stock))
        if tying != "none":  # fairseq's has no bias then
            weights.pop("decoder.fc_out.bias").zero_()
    # what is left is a matrix that has another name there
    assert set(weights) <= {"decoder.embed_tokens.weight", "decoder.fc_out.weight"}
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
        found = {stock_name(n): gradient for n, gradient in gradients[0].items()}
        if tying != "none":
            found.pop("decoder.fc_out.bias")
        for stock, expected in gradients[1].items():
            torch.testing.assert_close(found.pop(stock), expected, rtol=0, atol=NEAR)
        assert not found

    @torch.no_grad()
    @every_case
    def test_searches(self, name, tying):
        """Ours with our model, and fairseq's with its own: incremental decoding on both sides."""
        ours, theirs = both(name, tying, torch.float32)
        sample, options = sentences(7, 6), {"beam_size": 4, "max_len_b": 10}
        order = sample["net_input"]["src_lengths"].argsort(descending=True)  # as fairseq's wants it
        sample = {"net_input": {name: rows[order] for name, rows in sample["net_input"].items()}}
        for theirs_found, ours_found in zip(
            hypotheses(SequenceGenerator, theirs, sample, **options),
            hypotheses(TiedSequenceGenerator, ours, sample, **options),
            strict=True,
        ):
            for one, other in zip(theirs_found, ours_found, strict=True):
                assert one["tokens"].tolist() == other["tokens"].tolist()
                torch.testing.assert_close(
                    one["positional_scores"], other["positional_scores"], atol=1e-5, rtol=1e-5
                )


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
    ("options", "message"),
    [
        ({"decoder_attention": "perhaps"}, "--decoder-attention perhaps: must be 1 or 0"),
        ({"encoder_layers": 2, "decoder_layers": 1}, "--encoder-layers 2 must match .*layers 1"),
        ({"decoder_hidden_size": 0}, "--decoder-hidden-size 0"),
        ({"encoder_dropout_in": 1.0}, "--encoder-dropout-in 1.0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        lstm(**{"embed_dim": 4, **options})


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


@pytest.mark.parametrize("given", [{}, {"decoder_embed_dim": 32}, {"dropout": 0.25}], ids=str)
@pytest.mark.parametrize("arch", ["lstm", "lstm_wiseman_iwslt_de_en", "lstm_luong_wmt_en_de"])
def test_presets_are_fairseqs(arch, given):
    """And so are the options that follow from those that are given."""
    theirs = Namespace(**given)
    ARCH_CONFIG_REGISTRY[arch](theirs)
    ours = model_config(f"tied_{arch}", **given)
    names = [name for name in ours if hasattr(theirs, name) and name != "embed_dim"]
    assert len(names) == 14
    assert {n: ours[n] for n in names} == {n: getattr(theirs, n) for n in names}
