"""Translate with a folder of ``tiednmt export --to onnx``, by onnxruntime and NumPy alone.

  pip install onnxruntime sacremoses sentencepiece subword-nmt
  pip install --no-deps .    # in a clone
  python examples/translate_onnx.py en-cs-onnx < in.txt

Of tiednmt this uses the text pipeline, which needs neither torch nor fairseq, so its other
dependencies are left out. The search is plain beam search over one sentence at a time, as
tiednmt's own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from tiednmt.text.lines import STDIN, read_lines
from tiednmt.text.pipeline import TextPipeline
from tiednmt.text.writing import visible


class OnnxTranslator:
    """The two graphs of a folder, and what makes units of raw text."""

    def __init__(self, folder: Path) -> None:
        self.encoder = onnxruntime.InferenceSession(folder / "encoder.onnx")
        self.step = onnxruntime.InferenceSession(folder / "decoder_step.onnx")
        self.pipeline = TextPipeline.saved(folder / "segmentation")
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        self.source, self.target = vocabulary["source"], vocabulary["target"]
        self.numbers = {unit: i for i, unit in enumerate(self.source["units"])}

    def translate(self, line: str, beam: int = 5, lenpen: float = 1.0) -> tuple[str, float]:
        """The best translation of a line and its score."""
        if not visible(line):
            return "", 0.0
        units = self.pipeline.encode(line, self.pipeline.source).split()
        source = [self.numbers.get(unit, self.source["unk"]) for unit in units]
        score, tokens = self.search([*source, self.source["eos"]], beam, lenpen)
        found = [self.target["units"][token] for token in tokens if token != self.target["bos"]]
        return self.pipeline.decode(" ".join(found), self.pipeline.target), score

    def search(self, source: list[int], beam: int, lenpen: float) -> tuple[float, list[int]]:
        """Score and units of the best hypothesis of a source that ends in its end of sentence."""
        pad, eos = self.target["pad"], self.target["eos"]
        limit = int(1.2 * len(source) + 10)
        names = [output.name for output in self.encoder.get_outputs()]
        encoded = self.encoder.run(None, {"source": np.array([source])})
        first = dict(zip(names, encoded, strict=True))
        memory = {name: value for name, value in first.items() if name.startswith("memory.")}
        state = {name: value for name, value in first.items() if name.startswith("state.")}
        rows: list[tuple[float, list[int]]] = [(0.0, [])]  # hypotheses that go on
        finished: list[tuple[float, list[int]]] = []
        for position in range(limit + 1):
            last = np.array([tokens[-1] if tokens else eos for _, tokens in rows])
            scores, state = self.run_step(last, memory, state)
            scores[:, pad] = -np.inf
            if position < 1:
                scores[:, eos] = -np.inf
            if position == limit:
                scores[:, np.arange(scores.shape[1]) != eos] = -np.inf
            sums = (scores + np.array([[total] for total, _ in rows])).ravel()
            going_on, parents = [], []
            for rank, place in enumerate(np.argsort(-sums, kind="stable")[: 2 * beam]):
                parent, token = divmod(int(place), scores.shape[1])
                if token != eos:
                    going_on.append((float(sums[place]), [*rows[parent][1], token]))
                    parents.append(parent)
                elif rank < beam and len(finished) < beam and np.isfinite(sums[place]):
                    finished.append((sums[place] / (position + 1) ** lenpen, rows[parent][1]))
            if len(finished) == beam:
                break
            rows, parents = going_on[:beam], parents[:beam]
            state = {name: value[parents] for name, value in state.items()}
        return max(finished, key=lambda hypothesis: hypothesis[0])

    def run_step(
        self, tokens: np.ndarray, memory: dict[str, np.ndarray], state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Log-probabilities of what comes next, and the state after, of every hypothesis."""
        given = {"tokens": tokens, **state}
        for name, value in memory.items():  # all hypotheses attend to the same source
            given[name] = np.repeat(value, len(tokens), axis=0)
        wanted = {value.name for value in self.step.get_inputs()}
        names = [output.name for output in self.step.get_outputs()]
        outcome = self.step.run(None, {name: v for name, v in given.items() if name in wanted})
        found = dict(zip(names, outcome, strict=True))
        after = {name.replace("next.", "state."): v for name, v in found.items() if "next." in name}
        return found["scores"].copy(), after


if __name__ == "__main__":
    translator = OnnxTranslator(Path(sys.argv[1]))
    for text in read_lines(STDIN):  # which end at a line feed alone
        print(translator.translate(text)[0], flush=True)
