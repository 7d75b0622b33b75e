"""The translation model: attention, sentences that end early, greedy search, dropout, sizes."""

from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy

from tests.support.small_models import JOINT, batch, dictionary, model
from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel
from tiednmt.modules.packing import pack_steps


def scores(built, inputs):
    return built.eval()(**inputs)


@pytest.mark.parametrize("layers", [1, 2])
def test_attention_lies_on_words_alone(layers):
    built = model(encoder_layers=layers)
    for left in (True, False):
        inputs, _ = batch(left_pad=left)
        attention = scores(built, inputs)[1]["attn"]
        padding = inputs["src_tokens"].eq(JOINT.pad()).unsqueeze(1).expand_as(attention)
        assert attention[padding].abs().max() == 0
        assert attention[~padding].min() > 0
        torch.testing.assert_close(attention.sum(2), torch.ones_like(attention[..., 0]))


def test_attention_is_that_of_each_sentence_alone_and_step_by_step():
    built = model().eval()
    inputs, _ = batch()
    together = built(**inputs)[1]["attn"]
    encoder_out, state = built.encoder(inputs["src_tokens"], inputs["src_lengths"]), {}
    for t in range(together.size(1)):
        previous = inputs["prev_output_tokens"][:, : t + 1]
        _, extra = built.decoder(previous, encoder_out, incremental_state=state)
        torch.testing.assert_close(extra["attn"][:, 0], together[:, t])
    for i, (length, target_length) in enumerate(zip((5, 3, 1), (4, 6, 1), strict=True)):
        alone = {
            "src_tokens": inputs["src_tokens"][i : i + 1, 5 - length :],
            "src_lengths": inputs["src_lengths"][i : i + 1],
            "prev_output_tokens": inputs["prev_output_tokens"][i : i + 1, : target_length + 1],
        }
        attention = built(**alone)[1]["attn"][0]
        torch.testing.assert_close(attention, together[i, : target_length + 1, 5 - length :])


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
    """On both sides; a readout has the decoder alone."""
    built = model(**{f"{place}_dropout": 0.5}).train()
    inputs, _ = batch()
    source = inputs["src_tokens"], inputs["src_lengths"]
    annotations = [built.encoder(*source)["annotations"][0] for _ in range(2)]
    assert torch.equal(*annotations) == (place == "readout")
    encoder_out = built.eval().encoder(*source)
    built.train()
    scores = [built.decoder(inputs["prev_output_tokens"], encoder_out)[0] for _ in range(2)]
    assert not torch.equal(*scores)


def test_dropout_between_the_layers_of_the_encoder():
    inputs, _ = batch()
    found = []
    for layers in (1, 2):
        built = model(encoder_layers=layers, state_dropout=0.5).train()
        built.encoder.state_dropout.rate = 0.0  # of the last layer's states
        twice = (built.encoder(inputs["src_tokens"], inputs["src_lengths"]) for _ in range(2))
        found.append(torch.equal(*(one["annotations"][0] for one in twice)))
    assert found == [True, False]


# Press & Wolf (2017), table 7: vocabularies, and what README says in the paper's whole millions
PAPER = {
    "English-French": (
        (87_000, 92_000, 94_000),
        {"none": "167.87M", "decoder": "121.87M", "three-way": "79.37M"},
    ),
    "English-German": (
        (83_000, 91_000, 94_000),
        {"none": "164.87M", "decoder": "119.37M", "three-way": "79.37M"},
    ),
}


def of_words(entries):
    return dictionary(map(str, range(entries - len(dictionary(())))))


@pytest.mark.parametrize("pair", PAPER)
def test_sizes_of_the_paper(pair):
    """To the parameter, from its equations; and to README's decimals."""
    (source, target, joint), millions = PAPER[pair]
    sizes = Namespace()
    ARCH_CONFIG_REGISTRY["tied_gru_press_wolf"](sizes)
    words, state, query, annotation = 500, 1000, 2000, 2000

    def gru(read, hidden):
        return 3 * hidden * (read + hidden) + 2 * 3 * hidden

    network = (
        2 * gru(words, state)  # encoder
        + state * (annotation + 1)  # first state
        + gru(words, state)
        + query * (annotation + 1 + state + 1)  # keys, their bias, queries, scores
        + gru(annotation, state)
        + words * (state + 1 + words + annotation)  # readout
    )
    for tying, expected in millions.items():
        entries = {"none": source + 2 * target, "decoder": source + target, "three-way": joint}
        rows = joint if tying == "three-way" else target
        exact = entries[tying] * words + rows + network
        vocabularies = (joint, joint) if tying == "three-way" else (source, target)
        config = OmegaConf.create(
            {"model": {**vars(TiedGRUConfig()), **vars(sizes), "tying": tying}}
        )
        with torch.device("meta"):
            built = TiedGRUModel.build(config.model, *map(of_words, vocabularies))
        assert sum(parameter.numel() for parameter in built.parameters()) == exact
        assert f"{exact / 1e6:.2f}M" == expected


def test_a_seed_repeats_an_update():
    inputs, _ = batch(lengths=range(1, 21), target_lengths=range(20, 0, -1))
    gradients = []
    for _ in range(2):
        built = model(dropout=0.5).train()
        torch.manual_seed(5)
        built(**inputs)[0].logsumexp(2).sum().backward()
        gradients.append([parameter.grad for parameter in built.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
