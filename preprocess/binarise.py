"""Subword units to the folders that fairseq trains on."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tiednmt.errors import UserError

SHARED_UNITS = "shared-units.txt"


@dataclass(frozen=True)
class DataBin:
    """A folder for fairseq.

    It also gets a copy of the list of units that both languages use, for ``--private-units``.

    ``texts``: fairseq's name of a split (``train``, ``valid``, ``test``, ``test1``, …) → the path
    of its text without the language at the end.
    """

    folder: Path
    languages: tuple[str, str]
    texts: dict[str, Path]

    @property
    def files(self) -> list[Path]:
        """The files that the folder will have."""
        dictionaries = [f"dict.{language}.txt" for language in self.languages]
        return [self.folder / name for name in (*dictionaries, SHARED_UNITS)] + [
            self.folder / f"{split}.{'-'.join(self.languages)}.{language}.{kind}"
            for split in self.texts
            for language in self.languages
            for kind in ("bin", "idx")
        ]


def binarise_pairs(data_bin: DataBin, dictionary: Path, shared: Path, workers: int) -> None:
    """Run ``fairseq-preprocess`` with ``dictionary`` for both sides.

    Args:
        data_bin: what to make.
        dictionary: of both languages.
        shared: the list of units that both use.
        workers: processes.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = data_bin.folder
    partial_folder = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    source, target = data_bin.languages
    texts = dict(data_bin.texts)
    train, valid = texts.pop("train"), texts.pop("valid", None)
    tests = ",".join(map(str, texts.values()))
    try:
        _fairseq_preprocess(
            *("--source-lang", source, "--target-lang", target),
            *("--trainpref", str(train)),
            *(("--validpref", str(valid)) if valid else ()),
            *(("--testpref", tests) if tests else ()),
            *("--joined-dictionary", "--srcdict", str(dictionary)),
            *("--destdir", str(partial_folder), "--workers", str(workers)),
        )
    except BaseException as error:
        shutil.rmtree(partial_folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
        raise
    # Its log holds the temporary folder's name and the number of workers: not the same each time.
    (partial_folder / "preprocess.log").unlink(missing_ok=True)
    shutil.copyfile(shared, partial_folder / SHARED_UNITS)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial_folder, folder)


def _fairseq_preprocess(*arguments: str) -> None:
    """Run the command in this process: starting another one costs seconds of imports."""
    from fairseq.options import get_preprocessing_parser
    from fairseq_cli import preprocess

    logger = preprocess.logger
    logger.propagate = False
    try:
        preprocess.main(get_preprocessing_parser().parse_args(list(arguments)))
    finally:
        for handler in list(logger.handlers):  # its log file stays open otherwise
            logger.removeHandler(handler)
            handler.close()
