"""The translation model: padding, incremental decoding, beam search, checkpoints."""

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy

from tests.support.small_models import JOINT, batch, model
from tiednmt.errors import UserError
from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel
from tiednmt.modules import linear
from tiednmt.modules.packing import pack_steps


def scores(built, inputs):
    return built.eval()(**inputs)


@pytest.mark.parametrize("layers", [1, 2])
class TestPadding:
    def test_side_of_padding_does_not_matter(self, layers):
        built = model(encoder_layers=layers)
        left, right = (scores(built, batch(left_pad=side)[0])[0] for side in (True, False))
        torch.testing.assert_close(left, right)

    def test_a_sentence_alone_scores_as_in_a_batch(self, layers):
        built = model(encoder_layers=layers)
        together, extra = scores(built, batch()[0])
        for i, (length, target_length) in enumerate(zip((5, 3, 1), (4, 6, 1), strict=True)):
            inputs = batch()[0]
            single = {
                "src_tokens": inputs["src_tokens"][i : i + 1, 5 - length :],
                "src_lengths": inputs["src_lengths"][i : i + 1],
                "prev_output_tokens": inputs["prev_output_tokens"][i : i + 1, : target_length + 1],
            }
            alone, attention = scores(built, single)
            torch.testing.assert_close(alone[0], together[i, : target_length + 1])
            torch.testing.assert_close(
                attention["attn"][0], extra["attn"][i, : target_length + 1, 5 - length :]
            )

    def test_attention_lies_on_words_alone(self, layers):
        built = model(encoder_layers=layers)
        for left in (True, False):
            inputs, _ = batch(left_pad=left)
            attention = scores(built, inputs)[1]["attn"]
            padding = inputs["src_tokens"].eq(JOINT.pad()).unsqueeze(1).expand_as(attention)
            assert attention[padding].abs().max() == 0
            assert attention[~padding].min() > 0
            torch.testing.assert_close(attention.sum(2), torch.ones_like(attention[..., 0]))


class TestSentencesThatEndEarly:
    """The decoder leaves out what lies behind the end of the shorter sentences."""

    LENGTHS = tuple(1 + i * 7 % 11 for i in range(40))

    def inputs(self):
        return batch(lengths=self.LENGTHS[::-1], target_lengths=self.LENGTHS)

    def alone(self, i):
        (inputs, target), length = self.inputs(), self.LENGTHS[i] + 1
        return {
            "src_tokens": inputs["src_tokens"][i : i + 1, -inputs["src_lengths"][i] :],
            "src_lengths": inputs["src_lengths"][i : i + 1],
            "prev_output_tokens": inputs["prev_output_tokens"][i : i + 1, :length],
        }, target[i, :length]

    @staticmethod
    def loss(found, target):
        return cross_entropy(found.flatten(0, 1), target.flatten(), ignore_index=JOINT.pad())

    def test_scores_are_those_of_each_alone(self):
        built = model()
        together = scores(built, self.inputs()[0])[0]
        for i, length in enumerate(self.LENGTHS):
            alone = scores(built, self.alone(i)[0])[0]
            torch.testing.assert_close(together[i, : length + 1], alone[0])

    def test_gradients_are_the_sum_of_those_of_each_alone(self):
        built = model()
        inputs, target = self.inputs()
        counted = target.ne(JOINT.pad()).sum()
        self.loss(built(**inputs)[0], target).backward()
        together = [parameter.grad for parameter in built.parameters()]
        built.zero_grad()
        for i in range(len(target)):
            inputs, words = self.alone(i)
            (self.loss(built(**inputs)[0], words) * len(words) / counted).backward()
        for one, parameter in zip(together, built.parameters(), strict=True):
            torch.testing.assert_close(one, parameter.grad)

    def test_no_step_runs_on_padding_alone(self):
        tokens = self.inputs()[0]["prev_output_tokens"]
        order, positions, sizes = pack_steps(tokens, JOINT.pad())
        assert sorted(order.tolist()) == list(range(len(tokens)))
        assert sizes == sorted(sizes, reverse=True) and sizes[0] == len(tokens)
        assert len(set(positions.tolist())) == len(positions) == sum(sizes) < 0.8 * tokens.numel()
        read = torch.zeros(tokens.numel(), dtype=torch.bool).index_fill(0, positions, True)
        assert read[tokens.flatten().ne(JOINT.pad())].all()

    @pytest.mark.parametrize("tokens", [[[1, 1], [1, 1]], [[1, 5], [1, 1]], [[5], [5]]])
    def test_hardly_any_words(self, tokens):
        _, positions, sizes = pack_steps(torch.tensor(tokens), JOINT.pad())
        assert len(positions) == sum(sizes) and sizes[0] == 2


def test_incremental_decoding_equals_teacher_forcing():
    built = model().eval()
    inputs, _ = batch()
    whole, extra = built(**inputs)
    encoder_out = built.encoder(inputs["src_tokens"], inputs["src_lengths"])
    state = {}
    for t in range(whole.size(1)):
        previous = inputs["prev_output_tokens"][:, : t + 1]
        step, attention = built.decoder(previous, encoder_out, incremental_state=state)
        torch.testing.assert_close(step[:, 0], whole[:, t])
        torch.testing.assert_close(attention["attn"][:, 0], extra["attn"][:, t])


def test_reordering_moves_sentences_with_their_state():
    built = model().eval()
    inputs, _ = batch()
    order = torch.tensor([2, 0, 0, 1])
    state = {}
    encoder_out = built.encoder(inputs["src_tokens"], inputs["src_lengths"])
    previous = inputs["prev_output_tokens"]
    built.decoder(previous[:, :1], encoder_out, incremental_state=state)
    built.decoder.reorder_incremental_state_scripting(state, order)
    reordered = built.encoder.reorder_encoder_out(encoder_out, order)
    step, _ = built.decoder(previous[order][:, :2], reordered, incremental_state=state)
    whole, _ = built(**inputs)
    torch.testing.assert_close(step[:, 0], whole[order, 1])


def greedy(built, inputs, steps):
    """Independent of incremental decoding: the whole prefix is run again at every step."""
    rows = []
    for source, length in zip(inputs["src_tokens"], inputs["src_lengths"], strict=True):
        prefix = [JOINT.eos()]
        while len(prefix) <= steps:
            found, _ = built(source[None], length[None], torch.tensor([prefix]))
            row = found[0, -1]
            row[JOINT.pad()] = -torch.inf
            if len(prefix) == steps:
                row[[i for i in range(len(row)) if i != JOINT.eos()]] = -torch.inf
            prefix.append(int(row.argmax()))
            if prefix[-1] == JOINT.eos():
                break
        rows.append(prefix[1:])
    return rows


@pytest.mark.parametrize("tying", ["none", "three-way"])
def test_beam_one_is_greedy(tying):
    built = model(tying).eval()
    inputs, _ = batch()
    generator = SequenceGenerator([built], JOINT, beam_size=1, max_len_a=0, max_len_b=8)
    with torch.no_grad():
        found = generator.generate([built], {"net_input": inputs})
        expected = greedy(built, inputs, 9)
    assert [hypotheses[0]["tokens"].tolist() for hypotheses in found] == expected


def test_dropout_acts_in_training_alone():
    built = model(dropout=0.5)
    inputs, _ = batch()
    assert not torch.equal(built.train()(**inputs)[0], built(**inputs)[0])
    assert torch.equal(built.eval()(**inputs)[0], built(**inputs)[0])


@pytest.mark.parametrize("place", ["embedding", "state", "readout"])
def test_each_dropout_has_an_option(place):
    built = model(**{f"{place}_dropout": 0.5}).train()
    inputs, _ = batch()
    assert not torch.equal(built(**inputs)[0], built(**inputs)[0])


def test_half_precision_is_close():
    inputs, _ = batch()
    exact = scores(model(), inputs)[0]
    rough = scores(model().bfloat16(), inputs)[0]
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), exact, rtol=0.1, atol=0.1)


def test_another_model_is_refused():
    with pytest.raises(UserError, match="another model"):
        model(embed_dim=8).load_state_dict(model().state_dict())


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_the_precision_of_products_can_be_chosen(monkeypatch, precision):
    monkeypatch.setattr(linear, "has_bfloat16_products", lambda: True)
    inputs, _ = batch()
    plain = model(dtype=torch.float32)(**inputs)[0]
    chosen = model(dtype=torch.float32, float32_matmul_precision=precision)(**inputs)[0]
    assert torch.equal(chosen, plain) == (precision == "highest")
    torch.testing.assert_close(chosen, plain, atol=0.1, rtol=0.1)


def test_a_configuration_from_before_the_options():
    config = OmegaConf.create({"model": {**vars(TiedGRUConfig()), "tying": "three-way"}})
    del config.model.float32_matmul_precision, config.model.projection_bias
    assert TiedGRUModel.build(config.model, JOINT, JOINT).tie_map.tying == "three-way"


def test_a_seed_repeats_an_update():
    inputs, _ = batch(lengths=range(1, 21), target_lengths=range(20, 0, -1))
    gradients = []
    for _ in range(2):
        built = model(dropout=0.5).train()
        torch.manual_seed(5)
        built(**inputs)[0].logsumexp(2).sum().backward()
        gradients.append([parameter.grad for parameter in built.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
