"""``torch.nn.Transformer`` in a bare loop over the batches of a prepared folder.

It uses nothing of the package: what one would write without it, with all embeddings tied.

  python -m scripts.lab.baselines.plain_transformer --data runs/multi30k-en-de/data --updates 100 \\
    --embed-dim 128 --layers 4 --ffn-dim 256 --heads 4 --dropout 0.3 --max-tokens 4000
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary, data_utils
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tiednmt.commandline import command_parser
from tiednmt.options import Range, positive

Batch = tuple[Tensor, Tensor, Tensor]  # source, target input, target, B × length each
PAD = Dictionary().pad()


class PlainTransformer(nn.Module):
    """Embedding, sinusoids, encoder and decoder of torch's own, the embedding again.

    Args:
        vocabulary: entries of the joint dictionary.
        dim: of embeddings and layers.
        layers: of the encoder and of the decoder.
        ffn_dim: inside of the feed-forward networks.
        heads: of attention.
        dropout: wherever torch's layers have it, and behind the embedding.
    """

    def __init__(
        self,
        vocabulary: int,
        dim: int,
        layers: tuple[int, int],
        ffn_dim: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Transformer(
            dim, heads, *layers, ffn_dim, dropout, batch_first=True, norm_first=False
        )

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores (B × T × vocabulary) of what follows each of ``target`` (B × T)."""
        padding = source.eq(PAD)
        ahead = nn.Transformer.generate_square_subsequent_mask(target.size(1), target.device)
        states = self.transformer(
            self._embedded(source),
            self._embedded(target),
            tgt_mask=ahead,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(states, self.embedding.weight)

    def _embedded(self, tokens: Tensor) -> Tensor:
        rows = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(rows + sinusoids(tokens.size(1), rows.size(2)).to(rows))


def sinusoids(length: int, dim: int) -> Tensor:
    """Positions × dim, as Vaswani et al. (2017) add them."""
    frequencies = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
    angles = torch.arange(length).unsqueeze(1) * frequencies
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)[:, :dim]


def batches(data: Path, max_tokens: int, seed: int = 1) -> Iterator[Batch]:
    """Endless batches of sentences of similar length, at most ``max_tokens`` with padding."""
    data_bin = data / "data-bin"
    source, target = data_utils.infer_language_pair(str(data_bin))
    dictionary = Dictionary.load(str(data_bin / f"dict.{target}.txt"))
    sides = [
        data_utils.load_indexed_dataset(f"{data_bin}/train.{source}-{target}.{side}", dictionary)
        for side in (source, target)
    ]
    lengths = [max(sizes) for sizes in zip(*(side.sizes for side in sides), strict=True)]
    groups: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if (len(groups[-1]) + 1) * lengths[i] > max_tokens and groups[-1]:
            groups.append([])
        groups[-1].append(i)
    dice = random.Random(seed)
    while True:
        dice.shuffle(groups)
        for group in groups:
            sources, targets = ([side[i].long() for i in group] for side in sides)
            begun = [torch.cat((one[-1:], one[:-1])) for one in targets]  # fairseq begins with </s>
            yield (_padded(sources), _padded(begun), _padded(targets))


def _padded(lines: list[Tensor]) -> Tensor:
    return pad_sequence(lines, batch_first=True, padding_value=PAD)


def speed(model: PlainTransformer, given: Iterator[Batch], updates: int) -> float:
    """Target tokens per second of training, after the first tenth of the updates."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, betas=(0.9, 0.98))
    tokens, started = 0, 0.0
    for number in range(updates):
        if number == updates // 10:
            tokens, started = 0, time.perf_counter()
        source, target_input, target = (part.to(device) for part in next(given))
        scores = model(source, target_input)
        loss = F.cross_entropy(
            scores.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        tokens += int(target.ne(PAD).sum())
    return tokens / (time.perf_counter() - started)


def main() -> None:
    """Print the speed of training as JSON."""
    parser = command_parser("python -m scripts.lab.baselines.plain_transformer", __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    for name in ("updates", "max-tokens", "embed-dim", "layers", "ffn-dim", "heads"):
        parser.add_argument(f"--{name}", type=positive, required=True, metavar="N")
    parser.add_argument("--decoder-layers", type=positive, metavar="N")
    parser.add_argument("--dropout", type=Range(0, 1, float), required=True, metavar="P")
    args = parser.parse_args()
    data_bin = args.data / "data-bin"
    _, target = data_utils.infer_language_pair(str(data_bin))
    vocabulary = len(Dictionary.load(str(data_bin / f"dict.{target}.txt")))
    torch.manual_seed(1)
    layers = (args.layers, args.decoder_layers or args.layers)
    model = PlainTransformer(
        vocabulary, args.embed_dim, layers, args.ffn_dim, args.heads, args.dropout
    )
    rate = speed(model, batches(args.data, args.max_tokens), args.updates)
    print(json.dumps({"tokens_per_second": rate}))


if __name__ == "__main__":
    main()
