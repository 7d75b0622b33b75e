"""What each use of an embedding matrix adds to its gradient.

A tied matrix is looked up on the source side, looked up on the target side, and scores the output;
its gradient is the sum of what the three add (Press & Wolf 2017, section 3). Lopardo et al. 2026
(arXiv 2603.26663) find that in tied language models most of the early gradient is the output's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tiednmt.errors import UserError
from tiednmt.frequency import bands, frequency_order
from tiednmt.models.tied_model import TiedModel
from tiednmt.tying import OUTPUT, SOURCE_INPUT

FILE = "gradient-shares.jsonl"


class GradientShares:
    """Splits the gradients of every so many updates by the uses of the matrices.

    Each measured update is a line of JSON at the end of ``folder/gradient-shares.jsonl``:
    ``update``; ``uses``, by use the ``norm`` of its gradient (Frobenius, of the summed loss), its
    ``share`` of the sum of the norms, and ``bands``: per band of frequency ranks the ``ranks``
    (first and last) and the ``norm``; ``cosines``, by pairs of uses of matrices of one shape.
    Of several workers it is the first one's batches.

    Args:
        every: so many updates are from one measured to the next.
        folder: where the file goes.
        source: the source dictionary.
        target: the target dictionary (of a language model the same).
    """

    def __init__(self, every: int, folder: Path, source: Dictionary, target: Dictionary) -> None:
        self.every = every
        self.path = folder / FILE
        self._orders = {
            True: torch.from_numpy(frequency_order(source)),
            False: torch.from_numpy(frequency_order(target)),
        }
        self._update = -1  # that is being measured
        self._gradients: dict[str, Tensor] = {}  # by use, so far in the update
        self._whole: Tensor | None = None  # of V, all uses together
        self._hooks: list[RemovableHandle] = []

    def observe(self, update: int, model: TiedModel) -> None:
        """To be called before each batch, with the number of updates that were made so far."""
        if update == self._update:  # another batch of the same update
            return
        if self._gradients:
            self._write()
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._gradients, self._whole = [], {}, None
        if update % self.every == 0:
            self._update = update
            self._hook(model)

    def _hook(self, model: TiedModel) -> None:
        """Let the batches to come add up their gradients by use."""
        uses = dict(model.lookups)
        for use, (embedding, scale) in uses.items():
            self._hooks += _hook_lookup(embedding, scale, partial(self._add, use))
        output = model.output_layer.embedding
        tied = [use for use, (embedding, _) in uses.items() if embedding is output]
        self._hooks.append(output.weight.register_hook(partial(self._add_output, tied)))

    def _add(self, use: str, grad: Tensor) -> None:
        known = self._gradients.get(use)
        self._gradients[use] = grad if known is None else known + grad

    def _add_output(self, tied: list[str], whole: Tensor) -> None:
        """What the lookups did not add to the gradient of V, so far in this update."""
        self._whole = whole.detach() if self._whole is None else self._whole + whole.detach()
        self._gradients[OUTPUT] = self._whole - sum(self._gradients[use] for use in tied)

    def _write(self) -> None:
        gradients = self._gradients
        norms = {use: float(grad.norm()) for use, grad in gradients.items()}
        total = sum(norms.values()) or 1.0
        record = {
            "update": self._update,
            "uses": {
                use: {
                    "norm": norms[use],
                    "share": norms[use] / total,
                    "bands": self._by_band(use, grad),
                }
                for use, grad in gradients.items()
            },
            "cosines": _cosines(gradients, norms),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _by_band(self, use: str, grad: Tensor) -> list[dict[str, Any]]:
        order = self._orders[use == SOURCE_INPUT].to(grad.device)
        rows = grad.float().norm(dim=1)[order]
        return [
            {"ranks": [first, last], "norm": float(rows[first - 1 : last].norm())}
            for first, last in bands(len(order))
        ]


def _hook_lookup(
    embedding: nn.Embedding, scale: nn.Module, add: Callable[[Tensor], None]
) -> list[RemovableHandle]:
    """Hand the gradient of the matrix (rows × dim) from each lookup that ``scale`` is handed."""
    looked_up: list[tuple[Tensor, Tensor]] = []

    def remember(_: nn.Module, inputs: tuple[Tensor], rows: Tensor) -> None:
        looked_up.append((inputs[0], rows))

    def attach(_: nn.Module, inputs: tuple[Tensor]) -> None:
        rows = inputs[0]
        tokens = next(tokens for tokens, known in reversed(looked_up) if known is rows)
        looked_up.clear()
        if rows.requires_grad:
            rows.register_hook(lambda grad: add(_scattered(embedding, tokens, grad.detach())))

    return [embedding.register_forward_hook(remember), scale.register_forward_pre_hook(attach)]


def _scattered(embedding: nn.Embedding, tokens: Tensor, grad: Tensor) -> Tensor:
    """The gradient of a matrix from that of the rows looked up; padding has none."""
    whole = grad.new_zeros(embedding.weight.shape)
    whole.index_add_(0, tokens.flatten(), grad.flatten(0, -2))
    if embedding.padding_idx is not None:
        whole[embedding.padding_idx] = 0
    return whole


def _cosines(gradients: Mapping[str, Tensor], norms: Mapping[str, float]) -> dict[str, float]:
    return {
        f"{one}, {other}": float((gradients[one] * gradients[other]).sum())
        / ((norms[one] * norms[other]) or 1.0)
        for one, other in combinations(gradients, 2)
        if gradients[one].shape == gradients[other].shape
    }


def read_gradient_shares(folder: Path) -> list[dict[str, Any]]:
    """The measured updates, in order; none where nothing was measured.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            records.append({key: record[key] for key in ("update", "uses", "cosines")})
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: damaged; remove the line") from None
    return records
