"""docs/adding-a-model.md as printed: its code in a folder, its commands on a few lines of text."""

import re
import shlex

import pytest

from tests.support import toy_model
from tests.support.commandline import run
from tests.support.small_training import write_corpus

TEXT = toy_model.PAGE.read_text(encoding="utf-8")
COMMANDS = re.search(r"^```bash\n(.*?)^```", TEXT, re.M | re.S)[1].replace("\\\n", "").splitlines()
# the corpus of the tests is raw text, a few lines long
SMALL = ("--cpu", "--dataset-impl", "raw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    (folder / "toy").mkdir()
    (folder / "toy" / "__init__.py").write_text(toy_model.CODE, encoding="utf-8")
    (folder / "data/demo/data-bin").mkdir(parents=True)
    write_corpus(folder / "data/demo/data-bin")
    return folder


def test_the_model_of_the_page_trains_and_translates(folder):
    _, training, generating = map(shlex.split, COMMANDS)
    training[training.index("--max-update") + 1] = "12"
    done = run(*training, *SMALL, "--num-workers", "0", cwd=folder).check()
    assert "tie:three-way" in done.output and "source input embedding = target" in done.output

    refused = run(*training, *SMALL, "--update-freq", "0", cwd=folder)
    assert refused.status == 1 and "Traceback" not in refused.output
    assert refused.stderr.splitlines()[-1].startswith("error: --update-freq: batches per update")

    done = run(*generating, *SMALL, "--gen-subset", "valid", cwd=folder).check()
    assert len(re.findall(r"^H-\d+\t", done.stdout, re.M)) == 16
