"""The small PTB model of Zaremba et al. (2014) in plain PyTorch, with what the paper leaves open.

It uses nothing of the package. So it is the baseline of a benchmark (what one would write without
the package), and the model on which variants of projection regularisation are tried
(``scripts.search_projection``).

  python -m scripts.lab.baselines.plain_language_model --data runs/ptb-small/data --updates 100
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary, data_utils
from torch import Tensor, nn

from tiednmt.commandline import command_parser
from tiednmt.errors import UserError
from tiednmt.options import positive

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Variant:
    """One variant of the model and its objective."""

    tied: bool = True
    projection: str = "none"  # none; matrix: P h; affine: P h + bias
    projection_start: str = "uniform"  # uniform; zero bias; identity, zero: the bias zero as well
    penalty: float = 0.0  # λ of (λ / streams) · form
    penalty_form: str = "squared"  # squared: ½‖P‖²; norm: ‖P‖
    penalty_of: str = "projection"  # projection; embedding: the output embedding too; all
    clip_penalty: bool = True  # whether clipping sees the penalty's gradient
    weight_decay: float = 0.0  # of everything, at each update, outside the clipping
    clip_lookups: str = "summed"  # summed; apart: the norm of each lookup's gradient, as TensorFlow
    lstm_bias: str = "uniform"  # uniform, or zero as in TensorFlow
    # per gate: 2 as in PyTorch, which doubles a bias's effective learning rate; 1 as in TensorFlow
    lstm_biases: int = 2
    learning_rate: float = 1.0
    streams: int = 20
    steps: int = 20
    clip: float = 5.0
    first_decay: int = 4  # the last epoch at the full rate
    decay: float = 0.5
    epochs: int = 13
    size: int = 200
    layers: int = 2
    dropout: float = 0.0
    init_range: float = 0.1


class PlainLanguageModel(nn.Module):
    """Embedding, LSTM, P, output embedding."""

    def __init__(self, variant: Variant, vocab_size: int) -> None:
        super().__init__()
        size = variant.size
        self.embedding = nn.Embedding(vocab_size, size)
        self.dropout = nn.Dropout(variant.dropout)
        self.lstm = nn.LSTM(size, size, variant.layers, dropout=variant.dropout)
        self.projection = (
            nn.Linear(size, size, bias=variant.projection == "affine")
            if variant.projection != "none"
            else None
        )
        self.output = nn.Linear(size, vocab_size)
        if variant.tied:
            self.output.weight = self.embedding.weight
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -variant.init_range, variant.init_range)
        for name, parameter in self.lstm.named_parameters():
            unused = "bias_hh" in name and variant.lstm_biases == 1
            if unused or ("bias" in name and variant.lstm_bias == "zero"):
                nn.init.zeros_(parameter)
            parameter.requires_grad_(not unused)
        if self.projection is not None and variant.projection_start != "uniform":
            if variant.projection_start == "identity":
                nn.init.eye_(self.projection.weight)
            elif variant.projection_start == "zero":
                nn.init.zeros_(self.projection.weight)
            if self.projection.bias is not None:
                nn.init.zeros_(self.projection.bias)

    def forward(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Scores (T × B × vocab_size) for tokens (T × B), and the state."""
        self.looked_up = self.embedding(tokens)
        outputs, state = self.lstm(self.dropout(self.looked_up), state)
        outputs = self.dropout(outputs)
        if self.projection is not None:
            outputs = self.projection(outputs)
        return self.output(outputs), state


def windows(text: Tensor, streams: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets (T × B) of ``text`` in streams; what is left over is not read."""
    length = (len(text) - 1) // streams
    inputs, targets = (
        part[: length * streams].view(streams, length).t() for part in (text, text[1:])
    )
    for start in range(0, length, steps):
        yield inputs[start : start + steps], targets[start : start + steps]


class Training:
    """SGD with clipped gradients and a learning rate that is halved, as in Zaremba et al.."""

    def __init__(self, variant: Variant, vocab_size: int, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self.variant, self.seed = variant, seed
        self.model = PlainLanguageModel(variant, vocab_size)

    def epoch(self, text: Tensor, number: int) -> float:
        """Train on ``text`` for one epoch (counted from 1); returns its training perplexity."""
        rate = self.variant.learning_rate
        rate *= self.variant.decay ** max(0, number - self.variant.first_decay)
        nll, count, state = 0.0, 0, None
        self.model.train()
        torch.manual_seed(self.seed + number)  # of dropout, also when training continues here
        for inputs, targets in windows(text, self.variant.streams, self.variant.steps):
            loss, state = self.update(inputs, targets, state, rate)
            nll += loss
            count += targets.numel()
        return math.exp(nll / count)

    def update(
        self, inputs: Tensor, targets: Tensor, state: State | None, rate: float
    ) -> tuple[float, State]:
        """Make one update; returns the summed NLL and the detached state."""
        scores, (hidden, cell) = self.model(inputs, state)
        nll = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum")
        penalty = self.penalty() / self.variant.streams
        loss = nll / self.variant.streams
        self.model.zero_grad()
        if self.variant.clip_lookups == "apart":
            self.model.looked_up.retain_grad()
        (loss + penalty if self.variant.clip_penalty else loss).backward()
        self.clip(inputs)
        if not self.variant.clip_penalty and penalty.requires_grad:
            penalty.backward()
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.mul_(1 - rate * self.variant.weight_decay)
                    parameter.sub_(parameter.grad, alpha=rate)
        return nll.item(), (hidden.detach(), cell.detach())

    def clip(self, inputs: Tensor) -> None:
        """Scale all gradients so that their norm, as the variant takes it, is within its bound."""
        parameters = list(self.model.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.variant.clip_lookups == "apart":
            matrix, each = self.model.embedding.weight.grad, self.model.looked_up.grad
            assert matrix is not None and each is not None
            elsewhere = matrix.index_add(0, inputs.flatten(), each.flatten(0, 1), alpha=-1)
            squares = norm.square() - matrix.square().sum()
            norm = (squares + elsewhere.square().sum() + each.square().sum()).sqrt()
        nn.utils.clip_grads_with_norm_(parameters, self.variant.clip, norm)

    def penalty(self) -> Tensor:
        """The penalty: λ times its form, of the penalised matrices."""
        model, variant = self.model, self.variant
        projection: list[Tensor] = [] if model.projection is None else [model.projection.weight]
        penalised: dict[str, list[Tensor]] = {
            "projection": projection,
            "embedding": [*projection, model.output.weight],
            "all": list(model.parameters()),
        }
        squares = torch.zeros(())
        for parameter in penalised[variant.penalty_of]:
            squares = squares + parameter.square().sum()
        if variant.penalty_form == "squared":
            return variant.penalty * squares / 2
        return variant.penalty * (squares + 1e-12).sqrt()

    def perplexity(self, text: Tensor, streams: int, steps: int = 100) -> float:
        """The perplexity of ``text``, with the state carried along."""
        nll, count, state = 0.0, 0, None
        self.model.eval()
        with torch.no_grad():
            for inputs, targets in windows(text, streams, steps):
                scores, state = self.model(inputs, state)
                nll += F.cross_entropy(
                    scores.flatten(0, 1), targets.flatten(), reduction="sum"
                ).item()
                count += targets.numel()
        return math.exp(nll / count)


def dictionary(data: Path) -> Dictionary:
    """The dictionary of a prepared folder."""
    return Dictionary.load(str(data / "data-bin" / "dict.txt"))


def read(data: Path, subset: str) -> Tensor:
    """All tokens of a subset of a prepared folder."""
    path = data / "data-bin" / subset
    lines = data_utils.load_indexed_dataset(str(path), dictionary(data))
    if lines is None:
        raise UserError(f"{path}.bin: no such file; python -m preprocess.ptb makes it")
    return torch.cat([lines[i] for i in range(len(lines))])


def speed(data: Path, variant: Variant, updates: int) -> float:
    """Tokens per second of training, after the first tenth of the updates.

    Raises:
        UserError: the text has no window.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    text = read(data, "train").to(device)
    training = Training(variant, len(dictionary(data)))
    training.model.to(device)
    state, tokens, started = None, 0, 0.0
    if len(text) <= variant.streams:
        raise UserError(f"{data}: too little text for {variant.streams} streams")
    # an epoch after the other, as often as it takes
    batches = (batch for _ in count() for batch in windows(text, variant.streams, variant.steps))
    for number, (inputs, targets) in enumerate(islice(batches, updates)):
        if number == updates // 10:
            tokens, started = 0, time.perf_counter()
        _, state = training.update(inputs, targets, state, variant.learning_rate)
        tokens += targets.numel()
    return tokens / (time.perf_counter() - started)


def main() -> None:
    """Print the speed of training as JSON."""
    parser = command_parser("python -m scripts.lab.baselines.plain_language_model", __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared folder")
    parser.add_argument("--variant", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--updates", type=positive, default=100, metavar="N")
    args = parser.parse_args()
    variant = Variant(**args.variant)
    print(json.dumps({"tokens_per_second": speed(args.data, variant, args.updates)}))


if __name__ == "__main__":
    main()
