"""The five word-similarity sets of Press and Wolf (2017), from Faruqui and Dyer's collection.

  python -m preprocess.wordsim --dest DIR

This downloads the files; --raw DIR takes files that you already have. They are SimLex-999 (Hill et
al. 2015), Verb-143 (Baker et al. 2014), MEN (Bruni et al. 2014), Rare-Word (Luong et al. 2013) and
MTurk-771 (Halawi et al. 2012): two words and a human score per line.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from preprocess.command import add_raw_arguments, parser_of
from preprocess.download import at_address, fetch_all, files_at
from preprocess.files import find_file
from tiednmt.errors import one_line_errors
from tiednmt.files import named_when_whole

URL = "https://raw.githubusercontent.com/mfaruqui/eval-word-vectors/master/data/word-sim"
SHA256 = {
    "EN-MEN-TR-3k.txt": "888b13580faa362c7b11da0a670258cf1b1eb4bf0ecbcd418918729a3bd3f43a",
    "EN-MTurk-771.txt": "04dc297c9e86b6fa7cf8ef0e4ba2e2c8d3399ec68d92fb7a53c0b4aae27198b5",
    "EN-RW-STANFORD.txt": "5108d54dfc746f44f9c3d7e31d2857c37cf71430bc1594175a61a3b89bb0ae1f",
    "EN-SIMLEX-999.txt": "405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685",
    "EN-VERB-143.txt": "7259e19961c81912aa4c72de0102e480b2ad2bb9f4ce97d036fbde8e1a403001",
}


@one_line_errors
def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = parser_of("wordsim", __doc__)
    add_raw_arguments(parser)
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder to fill")
    args = parser.parse_args(argv)
    if args.raw is None:
        fetch_all(at_address(files_at(URL, SHA256), args.url), args.dest)
        return
    for name in SHA256:
        with named_when_whole(args.dest / name) as partial:
            shutil.copyfile(find_file(args.raw, name), partial)


if __name__ == "__main__":
    main()
