"""CTranslate2 with the weights of a Transformer of ours, in an interpreter that has both.

  python -m scripts.lab.baselines.ctranslate2 CHECKPOINT --data DATA-BIN --folder FOLDER --int8
  python -m scripts.lab.baselines.ctranslate2 --folder FOLDER --text UNITS --beam 5 --threads 1

The first converts; the second translates lines in subword units, and prints how many per second as
JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import tiednmt.plugin  # noqa: F401
from scripts.lab.baselines.interpreters import version_in
from tiednmt.checkpoints import build, read_checkpoint
from tiednmt.errors import one_line_errors
from tiednmt.export.to_ctranslate2 import specification
from tiednmt.options import Range, positive
from tiednmt.text.lines import read_lines

MODULE = "scripts.lab.baselines.ctranslate2"


def version(python: str) -> str:
    """The version of CTranslate2 that the interpreter ``python`` has.

    Raises:
        UserError: none.
    """
    hint = (
        "install it there (pip install ctranslate2), or name another interpreter that has it and "
        "this package with --ctranslate2-python"
    )
    return version_in(python, "ctranslate2", hint)


def write_model(checkpoint: Path, data_bin: Path, folder: Path, int8: bool) -> None:
    """Write the model of a checkpoint as CTranslate2 reads it.

    Args:
        checkpoint: of ``tied_transformer``.
        data_bin: with its dictionaries.
        folder: for the model.
        int8: round every matrix.

    Raises:
        UserError: the model is one that CTranslate2 has not.
    """
    state = read_checkpoint(checkpoint, data=str(data_bin))
    model, task = build(checkpoint, state, data_bin)
    dictionaries = task.source_dictionary, task.target_dictionary
    spec = specification(model.eval(), *dictionaries, int8)
    (folder / "model").mkdir()
    spec.save(str(folder / "model"))


def translate(
    folder: Path, sentences: Sequence[list[str]], beam: int, batch_size: int, threads: int
) -> tuple[list[list[str]], float]:
    """The best translations, and the seconds they took.

    Args:
        folder: see :func:`write_model`.
        sentences: subword units.
        beam: hypotheses.
        batch_size: sentences per batch.
        threads: of one translation.
    """
    import ctranslate2

    translator = ctranslate2.Translator(
        str(folder / "model"), device="cpu", inter_threads=1, intra_threads=threads
    )
    started = time.perf_counter()
    found = translator.translate_batch(sentences, beam_size=beam, max_batch_size=batch_size)
    seconds = time.perf_counter() - started
    return [one.hypotheses[0] for one in found], seconds


@one_line_errors
def main() -> None:
    """Convert, or translate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--beam", type=Range(1, 1000), default=5, metavar="N")
    parser.add_argument("--batch-size", type=positive, default=128, metavar="N")
    parser.add_argument("--threads", type=Range(1, 1024), default=1, metavar="N")
    args = parser.parse_args()
    if args.checkpoint:
        write_model(args.checkpoint, args.data, args.folder, args.int8)
        return
    sentences = [line.split() for line in read_lines(args.text)]
    found, seconds = translate(args.folder, sentences, args.beam, args.batch_size, args.threads)
    output = "".join(" ".join(units) + "\n" for units in found)
    (args.folder / "translations").write_text(output, encoding="utf-8")
    print(json.dumps({"sentences_per_second": len(sentences) / seconds}))


if __name__ == "__main__":
    main()
