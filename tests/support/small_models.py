"""Small models and batches for the unit tests."""

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from tiednmt.models.tied_gru import TiedGRUConfig, TiedGRUModel


def dictionary(words):
    result = Dictionary()
    for word in words:
        result.add_symbol(word)
    return result


JOINT = dictionary(f"w{i}" for i in range(19))


def model(tying="three-way", source=JOINT, target=JOINT, dtype=torch.float64, **changes):
    """A tied_gru of a few hundred parameters whose padding rows and biases are not zero."""
    sizes = {
        "embed_dim": 6,
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 5,
        "attention_size": 7,
        "dropout": 0.0,
    }
    config = OmegaConf.create({"model": {**vars(TiedGRUConfig()), **sizes, **changes}})
    config.model.tying = tying
    torch.manual_seed(7)
    result = TiedGRUModel.build(config.model, source, target).to(dtype)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return result


def batch(lengths=(5, 3, 1), target_lengths=(4, 6, 1), left_pad=True, vocabulary=JOINT):
    """Source (padded on the left or right), previous target tokens and target, random words."""
    generator = torch.Generator().manual_seed(3)
    pad, eos = vocabulary.pad(), vocabulary.eos()

    def words(count):
        return torch.randint(4, len(vocabulary), (count,), generator=generator)

    sources = [torch.cat((words(n), torch.tensor([eos]))) for n in lengths]
    targets = [torch.cat((words(n), torch.tensor([eos]))) for n in target_lengths]

    def padded(rows, left):
        width = max(map(len, rows))
        result = torch.full((len(rows), width), pad)
        for i, row in enumerate(rows):
            result[i, width - len(row) if left else 0 :][: len(row)] = row
        return result

    previous = [torch.cat((row[-1:], row[:-1])) for row in targets]
    return {
        "src_tokens": padded(sources, left_pad),
        "src_lengths": torch.tensor([len(row) for row in sources]),
        "prev_output_tokens": padded(previous, False),
    }, padded(targets, False)
