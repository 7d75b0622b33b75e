"""COMET of translations (Rei et al. 2020), by the package unbabel-comet where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tiednmt.errors import UserError
from tiednmt.translation.scoring import RESAMPLES, Score, figure
from tiednmt.translation.significance import jackknife

PACKAGE = "unbabel-comet"
BATCH = 16  # sentences
SEED = 12345  # of the resamples, as sacreBLEU has it
Sentence = tuple[str, str, str]  # source, translation, reference


class Comet:
    """A model of COMET, loaded when it is first asked and asked about each sentence once.

    Args:
        model: its name on the Hugging Face hub, from where it is fetched, or a checkpoint file.
            COMET unpickles either, so it may run code.
        cpu: even with a GPU.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self, model: str, cpu: bool = False):
        try:
            self._version = version(PACKAGE)
        except PackageNotFoundError:
            raise UserError(f"--comet {model}: pip install {PACKAGE} first") from None
        self._name = model
        self._gpus = 0 if cpu or not torch.cuda.is_available() else 1
        self._scores: dict[Sentence, float] = {}

    def score(
        self,
        hypotheses: Sequence[str],
        source: Sequence[str],
        references: Sequence[str],
        note: str = "",
    ) -> Score:
        """The mean over the sentences, in hundredths.

        Args:
            hypotheses: one per line.
            source: of the same lines.
            references: of the same lines.
            note: what the signature holds in addition, from a ``|`` on.

        Raises:
            UserError: there is no such model.
        """
        sentences = [*zip(source, hypotheses, references, strict=True)]
        self._ask([one for one in dict.fromkeys(sentences) if one not in self._scores])
        values = np.array([100 * self._scores[one] for one in sentences])
        samples = np.random.default_rng(SEED).choice(values, (RESAMPLES, len(values)))
        low, high = np.percentile(samples.mean(1), (2.5, 97.5))
        counted = np.stack([values, np.ones_like(values)], axis=1)
        signature = f"model:{Path(self._name).stem if self._is_file else self._name}"
        signature += f"|bs:{RESAMPLES}|seed:{SEED}|version:{self._version}"
        return Score(
            score=figure(values.mean()),
            mean=figure(samples.mean()),
            ci=(figure(low), figure(high)),
            signature=signature + note,
            influences=[*map(figure, jackknife(counted, lambda sums: sums[0] / sums[1]))],
        )

    def _ask(self, sentences: Sequence[Sentence]) -> None:
        if not sentences:
            return
        data = [dict(zip(("src", "mt", "ref"), one, strict=True)) for one in sentences]
        prediction = self._model.predict(data, batch_size=BATCH, gpus=self._gpus)
        self._scores.update(zip(sentences, map(float, prediction.scores), strict=True))

    def load(self) -> None:
        """Load the model now.

        Raises:
            UserError: there is no such model.
        """
        _ = self._model

    @property
    def _is_file(self) -> bool:
        return Path(self._name).is_file()

    @cached_property
    def _model(self) -> Any:
        from comet import download_model, load_from_checkpoint

        try:
            path = self._name if self._is_file else download_model(self._name)
            return load_from_checkpoint(path)
        except Exception as error:  # COMET raises bare Exceptions
            raise UserError(
                f"--comet {self._name}: COMET cannot load it ({error}); give a name such as"
                " Unbabel/wmt22-comet-da, or a checkpoint file with its hparams.yaml"
            ) from None
