"""The wheel, the console command, the pinned versions and what set-up refuses."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tiednmt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build_wheel(folder: Path, **environment: str) -> Path:
    """The wheel, built from a copy: nothing is left in the clone or taken from its build/."""
    source, target = folder / "clone", folder / "wheel"
    left_out = (".*", "build", "dist", "runs", "data", "*.egg-info", "__pycache__", "*.so")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*left_out))
    pip = (sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", target, source, env={**os.environ, **environment})
    (built,) = target.glob("*.whl")
    return built


def install(wheel: Path, target: Path) -> Path:
    """``target``, a folder outside the clone, with the wheel installed in it."""
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps")
    run(*pip, "--target", target, wheel)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("installed"))


def test_wheel_holds_tiednmt_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"tiednmt"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_holds_all_of_tiednmt(wheel: Path) -> None:
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tiednmt").rglob("*.py")}
    names = zipfile.ZipFile(wheel).namelist()
    assert expected | {"tiednmt/py.typed", "tiednmt/serve/page.html"} <= set(names)
    assert any(name.startswith("tiednmt/kernels/_cpu.") for name in names)


# of an extra or of the user's own, or for the types alone
OPTIONAL = {"comet", "gensim", "matplotlib", "triton", "typing_extensions"}


def test_what_the_package_imports_is_declared() -> None:
    """Not brought by chance by what another dependency needs."""
    nodes = chain(*(ast.walk(ast.parse(p.read_text())) for p in (ROOT / "tiednmt").rglob("*.py")))
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(str(node.module).split(".")[0])
    foreign = modules - {"tiednmt", *sys.stdlib_module_names}
    declared = {canonicalize_name(Requirement(text).name) for text in project()["dependencies"]}
    assert foreign >= OPTIONAL
    distributions = packages_distributions()
    for module in foreign - OPTIONAL:
        assert declared & {*map(canonicalize_name, distributions[module])}, module


DROP = """
import torch
from tiednmt.modules.dropout import dropout
assert dropout(torch.ones(999), 0.5).unique().tolist() == [0, 2]
"""


def test_without_a_compiler_it_does_without_and_says_so(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, CC="false", CXX="false")
    environment = {**os.environ, "PYTHONPATH": str(install(wheel, tmp_path / "installed"))}
    command = [sys.executable, "-c", DROP]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "running without some optimisations" in done.stderr
    assert "pip install --no-deps --editable CLONE compiles them" in done.stderr


def installed_environment(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed)}


def test_console_command_prints_the_installed_package(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "tiednmt"
    options = {"cwd": tmp_path, "env": installed_environment(installed)}
    assert run(command, "path", **options) == f"{installed.resolve() / 'tiednmt'}\n"
    assert run(command, "--version", **options) == f"tiednmt {tiednmt.__version__}\n"


USE = """
import importlib.util, shutil, tiednmt
from tiednmt.cli import main
assert not any(map(importlib.util.find_spec, ("preprocess", "scripts")))
main(["export", "c.pt", "--data", "data", "--out", "folder"])
shutil.rmtree("data")
print("translate:", flush=True)
main(["translate", "folder", "--input", "text"])
print("load:", *tiednmt.load("folder").translate(open("text")), sep="\\n")
print("inspect:", flush=True)
main(["inspect", "folder"])
"""


def test_the_installed_package_translates_without_a_clone(installed: Path, tmp_path: Path) -> None:
    """As the package of the clone does. One process, since each imports torch for seconds."""
    from tests.support.translators import LINES, prepared_folder, save_translator

    prepared = prepared_folder(tmp_path / "data")
    save_translator(tmp_path / "c.pt", prepared)
    (tmp_path / "text").write_text("\n".join(LINES) + "\n")
    expected = tiednmt.load(tmp_path / "c.pt", data=prepared).translate(LINES)
    options = {"cwd": tmp_path, "env": installed_environment(installed)}
    printed = run(sys.executable, "-c", USE, **options)
    _, translated, loaded, inspected = re.split("(?:translate|load|inspect):\n", printed)
    assert translated.splitlines() == loaded.splitlines() == [*expected]
    assert "one matrix (claimed tied)" in inspected


LOAD_PLUGIN = """
import sys
from argparse import Namespace
from fairseq import models, utils
utils.import_user_module(Namespace(user_dir=sys.argv[1]))
print(models.ARCH_MODEL_NAME_REGISTRY["tied_gru_tiny"], sys.modules["tiednmt"].__file__)
"""


def test_fairseq_finds_the_plugin_at_that_path(installed: Path, tmp_path: Path) -> None:
    path = installed / "tiednmt"
    loaded = run(sys.executable, "-c", LOAD_PLUGIN, path, cwd=tmp_path)
    assert loaded.splitlines()[-1] == f"tied_gru {path / '__init__.py'}"


LOAD_LEAN = (
    LOAD_PLUGIN
    + """
print(sorted(name for name in ("gensim", "matplotlib", "tiednmt.analysis") if name in sys.modules))
"""
)


def test_the_plugin_loads_without_what_only_the_analysis_needs(tmp_path: Path) -> None:
    loaded = run(sys.executable, "-c", LOAD_LEAN, ROOT / "tiednmt", cwd=tmp_path)
    assert loaded.splitlines()[-1] == "[]"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(python: str) -> dict[str, str]:
    """Package → version that constraints.txt gives on a Python."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice on Python {python}"
        found[name] = specifier.version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_pins_satisfy_the_ranges(python: str) -> None:
    pinned = pins(python)
    extras = project()["optional-dependencies"]
    needed = (extras[name] for name in ("analysis", "recipes", "dev"))
    for text in (*project()["dependencies"], *chain(*needed)):
        requirement = Requirement(text)
        if requirement.name == "tiednmt":
            continue
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tiednmt.__version__}\n" in citation


def set_up_fails(clone: Path, **environment: str) -> str:
    """What set-up prints on stderr; it must fail and leave no stamp."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    done = subprocess.run(
        [clone / "scripts" / "setup.sh", "recipes"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode != 0
    assert not (clone / ".venv" / "ready-for").exists()
    return done.stderr


def test_set_up_refuses_an_old_python_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1 && exit 0\nexit 1\n')
    old.chmod(0o755)
    clone = tmp_path / "a clone"
    message = set_up_fails(clone, PYTHON=str(old))
    assert message.count("\n") == 1
    assert "needs Python 3.10 to 3.13" in message and "Python 3.9.1" in message
    assert not (clone / ".venv").exists()


def test_set_up_leaves_a_foreign_venv_alone(tmp_path: Path) -> None:
    kept = tmp_path / "a clone" / ".venv" / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    message = set_up_fails(tmp_path / "a clone")
    assert message.count("\n") == 1
    assert "was not made by this script" in message
    assert kept.exists()


@pytest.mark.slow
def test_set_up_shows_the_end_of_the_log_where_pip_fails(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    # without the machine's own configuration of pip, whose constraints would be in the message
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    message = set_up_fails(clone, **alone)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"torch=={pins(python)['torch']}" in message
    assert str(clone / ".venv" / "setup.log") in message
