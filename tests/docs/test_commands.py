"""Every command in the README and in docs/ exists, with its sub-command and its options.

They are read by the parsers of the commands themselves. A command that is whole (no ``…`` in it)
has to be accepted; of others every option has to exist. ``test_adding_a_model.py`` and
``tests/preprocess/test_your_own_text.py`` run what is quick.
"""

import argparse
import itertools
import re
import shlex
from functools import cache

import pytest
from fairseq import options as fairseq_options

import tests.support.toy_model  # noqa: F401
import tiednmt.plugin  # noqa: F401
from scripts.lab.options_page import command_modules, parser_of, with_subcommands
from scripts.lab.store import PAGES, ROOT, with_tables

PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES = [page for page in PAGES if page.is_file()]
OTHERS = {"pip", "echo", "mkdocs", "cd", "source", "make", "git", "pre-commit"}  # not ours
# modules that are no command of options.md: of tests, benchmarks and baselines
INNER = re.compile(r"(tests|pytest|scripts\.lab|scripts\.lowest)\b")
FAIRSEQ = {
    "fairseq-train": fairseq_options.get_training_parser,
    "fairseq-generate": fairseq_options.get_generation_parser,
    "fairseq-interactive": lambda: fairseq_options.get_generation_parser(interactive=True),
    "fairseq-validate": fairseq_options.get_validation_parser,
    "fairseq-eval-lm": fairseq_options.get_eval_lm_parser,
    "fairseq-preprocess": fairseq_options.get_preprocessing_parser,
    "fairseq-hydra-train": None,
}
WRAPPERS = ("torchrun", "srun")  # of what comes after them

GAP = re.compile(r"…|\.\.\.|\[")


def written(page):
    """The command lines of a page: those of its blocks, and those within a line of text."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- (table|options): .*?<!-- end -->", "", text, flags=re.S)
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield from (words for words in commands_in(line) if words)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for code in re.findall(r"`([^`]+)`", prose):
        code = " ".join(code.split())
        if re.match(
            r"(python -m |tiednmt [a-z]+ ?|\./scripts/|scripts/\S+\.sh|fairseq-\w+ -)", code
        ):
            yield [*code.split(), "…"]  # of which something may be missing


def commands_in(line):
    """The words of each command of a line, without the shell around them."""
    words = shlex.split(line, comments=True)
    command = []
    for word in words:
        if word in ("|", "&&", ";"):
            yield command
            command = []
        elif command or not re.fullmatch(r"[A-Z_]+=.*", word):  # a variable of the environment
            command.append(word)
    yield command


COMMANDS = [(page.name, words) for page in PAGES for words in written(page)]


@cache
def parser(module):
    return parser_of(module)


@cache
def fairseq_parser(name):
    return FAIRSEQ[name]()


def without_shell(words):
    """Up to where the output goes."""
    ends = [i for i, word in enumerate(words) if word in (">", "<")]
    return words[: ends[0]] if ends else words


def check(words):
    words = without_shell(words)
    program = words[0]
    if program in OTHERS or program.endswith("/pip"):
        return
    if program in WRAPPERS:
        return check_wrapped(" ".join(words[1:]))
    if program.startswith("--"):  # options of fairseq-train alone
        return check_fairseq(["fairseq-train", "…", *words])
    if program in FAIRSEQ:
        check_fairseq(words)
    elif program == "./scripts/quickstart.sh":
        check_arguments("scripts.quickstart", words[1:])
    elif program.endswith(".sh"):
        assert (ROOT / program).is_file()
        text = (ROOT / program).read_text() + (ROOT / "scripts" / "gpu.py").read_text()
        for word in words:
            assert not word.startswith("--") or word in text
    elif program == "tiednmt":
        if words[1:2] not in (["path"], ["--version"], ["COMMAND"], ["…"]):
            assert f"tiednmt {words[1]}" in command_modules(), words
            check_arguments(f"tiednmt.commands.{words[1]}", words[2:])
    else:
        assert words[:2] == ["python", "-m"], words
        module = words[2]
        if INNER.match(module):
            path = ROOT / module.replace(".", "/")
            known = path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
            assert module == "pytest" or known, module
        elif not re.search(r"[A-Z…]|\.$", module):  # a name stands for any
            assert f"python -m {module}" in command_modules(), module
            check_arguments(module, words[3:])


def check_wrapped(line):
    _, training, rest = line.partition("fairseq-train")
    if training:
        words = [word for word in shlex.split(rest.strip(") '")) if "$" not in word]
        check_fairseq(["fairseq-train", *words])
    else:
        (script,) = re.findall(r"\S+\.py", line)
        assert (ROOT / script).is_file()


def check_arguments(module, words):
    whole = parser(module)
    if any(GAP.search(word) for word in words) or "--help" in words:
        check_options(whole, words)
    else:
        try:
            whole.parse_args(words)
        except SystemExit:
            pytest.fail(f"{module} {shlex.join(words)} is refused")


def check_options(whole, words):
    known = {
        name for _, each in with_subcommands("", whole) for name in each._option_string_actions
    }
    subs = [a for a in whole._actions if isinstance(a, argparse._SubParsersAction)]
    if subs and words and re.fullmatch("[a-z-]+", words[0]):
        assert words[0] in subs[0].choices, words
    for word in words:
        if word.startswith("--") and "[" not in word:
            assert word.partition("=")[0] in known, word


def check_fairseq(words):
    if words[0] == "fairseq-hydra-train":
        return  # its overrides are checked where they are composed
    words = [word for word in words[1:] if not GAP.search(word)]
    if "--user-dir" in words:  # it is imported already
        at = words.index("--user-dir")
        words[at : at + 2] = []
    known = fairseq_parser_with(words)._option_string_actions
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, word


def fairseq_parser_with(words):
    """A parser with the options of the model, criterion and so on that ``words`` choose."""
    from fairseq.models import ARCH_MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    whole = argparse.ArgumentParser(conflict_handler="resolve", allow_abbrev=False)
    for each in FAIRSEQ.values():
        if each is not None:
            for action in fairseq_parser_of(each)._actions:
                if action.option_strings and "--help" not in action.option_strings:
                    whole.add_argument(*action.option_strings, dest=action.dest)
    chosen = dict(itertools.pairwise(words))
    classes = [TASK_REGISTRY[chosen.get("--task", "translation")]]
    if "--arch" in chosen and chosen["--arch"].islower():
        classes.append(ARCH_MODEL_REGISTRY[chosen["--arch"]])
    for name, registry in REGISTRIES.items():
        choice = chosen.get("--" + name.replace("_", "-"))
        if choice:
            classes.append(registry["registry"][choice])
    if "--arch" not in chosen:  # any model's
        classes += {ARCH_MODEL_REGISTRY[a] for a in ARCH_MODEL_REGISTRY if a.startswith("tied_")}
        classes.append(REGISTRIES["criterion"]["registry"]["tied_cross_entropy"])
    for cls in classes:
        if hasattr(cls, "add_args"):
            cls.add_args(whole)
    return whole


@cache
def fairseq_parser_of(make):
    return make()


@pytest.mark.parametrize("page", sorted({page for page, _ in COMMANDS}))
def test_the_commands_of_a_page_exist(page):
    for name, words in COMMANDS:
        if name == page:
            try:
                check(words)
            except (AssertionError, KeyError, pytest.fail.Exception) as fault:
                pytest.fail(f"{shlex.join(words)}: {fault}")


def test_the_page_of_options_is_that_of_the_parsers():
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python -m scripts.record"
    named = set(re.findall(r"^### `(?:python -m )?([^`]+)`", text, re.M))
    assert {"tied_gru", "scripts.benchmark train", "tiednmt vocabulary trim"} <= named


def test_commands_are_found():
    programs = {words[0] for _, words in COMMANDS}
    assert {"./scripts/quickstart.sh", "./scripts/test.sh", "fairseq-train", "tiednmt"} <= programs
    assert len(COMMANDS) > 100


@pytest.mark.parametrize(
    "line",
    [
        "python -m scripts.no_such --seeds 3",
        "python -m scripts.reproduce demo --no-such-option",
        "python -m scripts.reproduce … --no-such-option",
        "python -m scripts.benchmark no-such …",
        "tiednmt no-such",
        "fairseq-train DATA --user-dir tiednmt --arch tied_gru --no-such-option",
        "fairseq-train DATA --user-dir tiednmt --arch tied_no_such",
        "no-such-program",
    ],
)
def test_a_command_that_does_not_exist_is_found(line, capsys):
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        check(line.split())
