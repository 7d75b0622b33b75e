"""Every architecture for ONNX (https://onnx.ai): an encoder, and one step of its decoder.

======================  ===========================================================================
``encoder.onnx``        source → what the steps attend to, and the first state
``decoder_step.onnx``   tokens, memory, state → log-probabilities, attention, state
``model.weights``       the numbers of both; a tied matrix is there once
``vocabulary.json``     the units of both languages, and which of them are special
``segmentation/``       what makes units of raw text
======================  ===========================================================================
"""

from __future__ import annotations

from pathlib import Path

from fairseq.data import Dictionary

from tiednmt.errors import UserError
from tiednmt.export.onnx_graph import WEIGHTS, Graph, SharedWeights
from tiednmt.export.onnx_models import build_encoder, build_step, supports
from tiednmt.export.requirements import require_plain_matrices
from tiednmt.export.trained import TrainedModel
from tiednmt.files import folder_when_whole, write_json
from tiednmt.text.manifest import SEGMENTATION

ENCODER, STEP, VOCABULARY = "encoder.onnx", "decoder_step.onnx", "vocabulary.json"


def write_onnx(folder: Path, trained: TrainedModel) -> None:
    """Write a folder of two graphs, their weights and what makes units of raw text.

    Raises:
        UserError: onnx is not installed, the model has what the graphs have not, the folder exists.
    """
    if not supports(trained.model):
        raise UserError(f"{trained.architecture}: has no graphs of ONNX")
    require_plain_matrices(trained.model, "ONNX", linear_layers=True)
    weights = SharedWeights()
    encoder, step = Graph("encoder", weights), Graph("decoder_step", weights)
    started = build_encoder(encoder, trained.model, trained.source.pad())
    build_step(step, trained.model, started)
    with folder_when_whole(folder) as partial:
        encoder.save(partial / ENCODER)
        step.save(partial / STEP)
        weights.write(partial / WEIGHTS)
        write_json(
            partial / VOCABULARY,
            {"source": _vocabulary(trained.source), "target": _vocabulary(trained.target)},
        )
        trained.pipeline.save(partial / SEGMENTATION)


def _vocabulary(dictionary: Dictionary) -> dict[str, object]:
    special = {name: getattr(dictionary, name)() for name in ("bos", "pad", "eos", "unk")}
    return {**special, "units": dictionary.symbols}
