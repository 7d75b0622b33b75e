"""What each use of an embedding matrix adds to its gradient.

A tied matrix is looked up on the source side, looked up on the target side, and scores the output;
its gradient is the sum of what the three uses add (Press & Wolf 2017, section 3). Lopardo et al.
2026 (arXiv 2603.26663) find that in tied language models most of the early gradient comes from the
output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tiednmt.criterions.measurements import Measurements, read_measurements
from tiednmt.errors import UserError
from tiednmt.frequency import (
    BOTH,
    NEITHER,
    SOURCE_ONLY,
    TARGET_ONLY,
    bands,
    frequency_order,
    occurrences,
)
from tiednmt.models.tied_model import TiedModel
from tiednmt.tying import OUTPUT, SOURCE_INPUT

FILE = "gradient-shares.jsonl"


class GradientShares:
    """Splits the gradients of the matrices by use, in one of every N updates.

    For each measured update, a line of JSON is appended to ``folder/gradient-shares.jsonl``:

    * ``update``: how many updates were made before it.
    * ``uses``: for each use the ``norm`` of its gradient (Frobenius, of the summed loss), its
      ``share`` of the sum of all norms, and ``bands``: for each band of frequency ranks, the
      ``ranks`` (first and last) and the ``norm``. If source and target share a matrix, also
      ``sides``: the norms over the rows whose units occur only in the source's training text, only
      in the target's, in both or in neither.
    * ``rows``: how many rows each of these sides has.
    * ``cosines``: for each pair of uses whose matrices have the same shape.

    Held rows have no gradient, and a matrix that is not trained has no uses. With several workers,
    only the batches of the first one are measured.

    Args:
        every: N: an update is measured when the number of updates before it is a multiple of N.
        folder: where the file goes.
        source: the source dictionary.
        target: the target dictionary; in a language model, the same one.
        training_data: returns the dataset that training reads, which tells in which text a unit
            occurs. If it comes in several parts, the parts returned so far count.
    """

    def __init__(
        self,
        every: int,
        folder: Path,
        source: Dictionary,
        target: Dictionary,
        training_data: Callable[[], Any] = lambda: None,
    ) -> None:
        self.every = every
        self._measurements = Measurements(folder / FILE)
        self._orders = [torch.from_numpy(frequency_order(d)) for d in (source, target)]
        self._sides = _Sides(training_data, len(target))
        self._update = -1  # the one that is being measured
        # by use, added up over the batches of the update; that of V includes the lookups tied to it
        self._gradients: dict[str, Tensor] = {}
        self._uses: list[str] = []  # in the order of the file
        self._tied: list[str] = []  # the lookups whose matrix is V
        self._rows: dict[str, Tensor] = {}  # by side
        self._hooks: list[RemovableHandle] = []

    def observe(self, update: int, model: TiedModel) -> None:
        """To be called before each batch and after each update, with the number made so far."""
        if update == self._update:  # another batch of the same update
            return
        self._measurements.begin(update)
        if self._gradients:
            self._write()
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._gradients = [], {}
        if update % self.every == 0:
            self._update = update
            self._hook(model)

    def _hook(self, model: TiedModel) -> None:
        """Let the coming batches add up their gradients by use."""
        uses = {use: at for use, at in model.lookups.items() if at[0].weight.requires_grad}
        for use, (embedding, scale) in uses.items():
            held = model.held_in(embedding.weight)
            add = partial(self._add_rows, use, embedding, held)
            self._hooks += _hook_lookup(embedding, scale, add)
        output = model.output_layer.embedding
        self._uses = [*uses]
        if output.weight.requires_grad:
            self._hooks.append(output.weight.register_hook(self._add_output))
            self._uses.append(OUTPUT)
        if not self._uses:
            raise UserError("--measure-gradients: the matrices are frozen and have no gradient")
        self._tied = [use for use, (embedding, _) in uses.items() if embedding is output]
        shared = model.embeddings.source is model.embeddings.target
        self._rows = self._sides.rows() if shared else {}

    def _add_rows(
        self, use: str, embedding: nn.Embedding, held: Tensor | None, tokens: Tensor, grad: Tensor
    ) -> None:
        """Add the gradient of looked-up rows to their use; padding and held rows have none."""
        if use not in self._gradients:
            zeros = grad.new_zeros(embedding.weight.shape, dtype=_summed_in(grad))
            self._gradients[use] = zeros
        whole = self._gradients[use]
        whole.index_add_(0, tokens.flatten(), grad.flatten(0, -2).to(whole.dtype))
        if embedding.padding_idx is not None:
            whole[embedding.padding_idx] = 0
        if held is not None:
            whole.index_fill_(0, held.to(whole.device), 0)

    def _add_output(self, grad: Tensor) -> None:
        """Add the gradient of V, which includes the lookups tied to it."""
        known = self._gradients.get(OUTPUT)
        if known is None:
            self._gradients[OUTPUT] = grad.detach().to(_summed_in(grad), copy=True)
        else:
            known.add_(grad)

    def _write(self) -> None:
        for use in self._tied:
            self._gradients[OUTPUT].sub_(self._gradients[use])
        gradients = {use: self._gradients[use] for use in self._uses}
        row_norms = {use: grad.norm(dim=1) for use, grad in gradients.items()}
        norms = {use: float(of_rows.norm()) for use, of_rows in row_norms.items()}
        total = sum(norms.values()) or 1.0
        uses = {
            use: {
                "norm": norms[use],
                "share": norms[use] / total,
                "bands": self._by_band(use, of_rows),
                **self._by_side(of_rows),
            }
            for use, of_rows in row_norms.items()
        }
        cosines = _cosines(gradients, norms)
        record: dict[str, Any] = {"update": self._update, "uses": uses, "cosines": cosines}
        if self._rows:
            record["rows"] = {side: len(rows) for side, rows in self._rows.items()}
        self._measurements.append(record)

    def _by_band(self, use: str, row_norms: Tensor) -> list[dict[str, Any]]:
        order = self._orders[0 if use == SOURCE_INPUT else 1].to(row_norms.device)
        ranked = row_norms[order]
        return [
            {"ranks": [first, last], "norm": float(ranked[first - 1 : last].norm())}
            for first, last in bands(len(order))
        ]

    def _by_side(self, row_norms: Tensor) -> dict[str, Any]:
        if not self._rows:
            return {}
        of_side = {side: row_norms[rows.to(row_norms.device)] for side, rows in self._rows.items()}
        return {"sides": {side: float(norms.norm()) for side, norms in of_side.items()}}


class _Sides:
    """In which side's training text the units of a joint dictionary occur."""

    def __init__(self, training_data: Callable[[], Any], rows: int) -> None:
        self._training_data = training_data
        self._seen = np.zeros((2, rows), dtype=bool)  # in the source's text, in the target's
        self._read: Any = None  # the last part of the data that was counted

    def rows(self) -> dict[str, Tensor]:
        """The rows of each side; empty if the data are not pairs of sentences."""
        data = self._training_data()
        texts = [getattr(data, name, None) for name in ("src", "tgt")]
        if any(text is None for text in texts):
            return {}
        if data is not self._read:
            for seen, text in zip(self._seen, texts, strict=True):
                seen |= occurrences(text, len(seen)) > 0
            self._read = data
        source, target = self._seen
        sides = {
            SOURCE_ONLY: source & ~target,
            TARGET_ONLY: target & ~source,
            BOTH: source & target,
            NEITHER: ~(source | target),
        }
        return {side: torch.from_numpy(rows.nonzero()[0]) for side, rows in sides.items()}


def _hook_lookup(
    embedding: nn.Embedding, scale: nn.Module, add: Callable[[Tensor, Tensor], None]
) -> list[RemovableHandle]:
    """Call ``add`` with the tokens and the gradient of every lookup whose rows go to ``scale``."""
    looked_up: list[tuple[Tensor, Tensor]] = []

    def remember(_: nn.Module, inputs: tuple[Tensor], rows: Tensor) -> None:
        looked_up.append((inputs[0], rows))

    def attach(_: nn.Module, inputs: tuple[Tensor]) -> None:
        rows = inputs[0]
        if rows.requires_grad:  # not in validation, which may scale the whole matrix
            tokens = next(tokens for tokens, known in reversed(looked_up) if known is rows)
            rows.register_hook(lambda grad: add(tokens, grad.detach()))
        looked_up.clear()

    return [embedding.register_forward_hook(remember), scale.register_forward_pre_hook(attach)]


def _summed_in(grad: Tensor) -> torch.dtype:
    """Single precision, or double if the gradient is; sums in bfloat16 would soon stop growing."""
    return torch.promote_types(grad.dtype, torch.float32)


def _cosines(gradients: Mapping[str, Tensor], norms: Mapping[str, float]) -> dict[str, float]:
    return {
        f"{one}, {other}": float(gradients[one].flatten().dot(gradients[other].flatten()))
        / ((norms[one] * norms[other]) or 1.0)
        for one, other in combinations(gradients, 2)
        if gradients[one].shape == gradients[other].shape
    }


def read_gradient_shares(folder: Path) -> list[dict[str, Any]]:
    """The measured updates, in order; none if nothing was measured.

    Raises:
        UserError: the file is damaged.
    """
    return read_measurements(folder / FILE, _shape)


def _shape(record: dict[str, Any]) -> Any:
    """What a line measures, for :func:`read_measurements`."""
    shape, numbers = {}, list(record["cosines"].values())
    for name, use in record["uses"].items():
        shape[name] = [(int(band["ranks"][0]), int(band["ranks"][1])) for band in use["bands"]]
        numbers += [use["norm"], *(band["norm"] for band in use["bands"])]
        numbers += use.get("sides", {}).values()
    counts = record.get("rows", {}).values()
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not (whole and all(map(math.isfinite, numbers))):
        raise ValueError
    return shape, sorted(record["cosines"])
