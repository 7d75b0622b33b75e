"""Weight tying for sequence models: a fairseq plugin (``fairseq-train --user-dir tiednmt``).

Importing this package does nothing; :mod:`tiednmt.plugin` registers its models, tasks and
criterions with fairseq, and :func:`load` makes a translator of a trained model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from tiednmt.translation.translator import Translator

__version__ = "0.3.0"


def load(
    model: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    data: str | os.PathLike[str] | None = None,
    *,
    int8: bool | None = None,
    cpu: bool = False,
) -> Translator:
    """Load a trained model as a translator of raw text.

    From a model folder, which ``tiednmt export`` writes and which has everything needed::

        translator = tiednmt.load("en-cs")
        translator.translate(["A dog runs.", "Two men talk."])   # ["Pes běží.", "Dva muži mluví."]

    From a checkpoint of ``fairseq-train``, with the prepared folder that it was trained on; or from
    several models with the same dictionaries, whose probabilities are averaged at every step::

        tiednmt.load("runs/checkpoint_best.pt", data="data/multi30k-en-cs")
        tiednmt.load(["en-cs", "en-cs-seed-2"])

    There is one translation per line, in order; blank lines stay blank. A translation does not
    depend on the other lines. Options of the search::

        translator.translate(lines, beam=5, lenpen=1.0)          # list[str]; these are the defaults
        translator.translate(lines, nbest=3)                     # list[list[str]], the best first
        translator.translate(lines, max_tokens=4000, max_sentences=None)  # of a batch

    ``details=True`` returns a :class:`~tiednmt.translation.translator.Translation` instead of each
    string, with ``text``, ``score``, ``units``, ``unit_scores``, ``source_units``,
    ``alignment`` and ``attention``::

        (best,), = translator.translate(["A dog runs."], nbest=1, details=True)
        [(best.source_units[i], best.units[j]) for i, j in best.alignment]

    For more lines than fit in memory, ``stream`` takes an iterable and returns an iterator::

        with open("in.txt", encoding="utf-8") as lines:
            for translation in translator.stream(lines):
                print(translation)

    Several threads may share a translator; they take turns. On a CPU with several cores
    (``torch.get_num_threads()``), the main thread's batches are split among processes, which end
    with ``close`` or a ``with`` block.

    Args:
        model: a model folder or a checkpoint, or several of them.
        data: the prepared folder of checkpoints; by default the one that they were trained on.
        int8: decode with int8 weights on the CPU, which is faster on a CPU with VNNI and gives
            nearly the same translations. By default as the folder was exported.
        cpu: use no GPU, even if there is one.

    Raises:
        UserError: a ValueError with one line that names the problem and the way out.
    """
    import logging

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from tiednmt.translation.loading import load_translator
    finally:  # modules of fairseq configure the caller's logging when they are imported
        root.handlers[:] = handlers
        root.setLevel(level)
    return load_translator(model, data, int8=int8, cpu=cpu, attention=True)
