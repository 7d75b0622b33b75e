"""What contributors are told is there: tasks, hooks, workflows, templates."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

import tiednmt
from scripts.lowest import lowest
from tests.test_packaging import pins

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
# what the page tells its readers to make
TO_BE_MADE = {"runs/NAME", "tiednmt/models/NAME.py", "tests/models/test_NAME.py"}


def runs_of(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_what_each_task_runs(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for script in re.findall(r"^(scripts/\S+\.sh)", done.stdout, re.MULTILINE):
        assert (ROOT / script).stat().st_mode & 0o100


def test_workflows_run_what_there_is():
    assert {workflow.stem for workflow in WORKFLOWS} == {"fast", "nightly"}
    told = [line for workflow in WORKFLOWS for run in runs_of(workflow) for line in run.split("\n")]
    made = {w for line in told for w in line.partition("make ")[2].split() if "=" not in w}
    made = {word for word in made if re.fullmatch(r"[a-z-]+", word)}
    assert {"setup", "lint", "types", "records", "docs", "test-fast", "test-slow"} <= made
    assert made <= set(TARGETS)


def test_nightly_tests_run_at_night():
    """Those that are not slow, too."""
    (nightly,) = (workflow for workflow in WORKFLOWS if workflow.stem == "nightly")
    assert "make test-slow" in runs_of(nightly)
    done = subprocess.run(["make", "-n", "test-slow"], cwd=ROOT, capture_output=True, text=True)
    assert '-m "slow or nightly" --nightly' in done.stdout


def test_the_page_names_files_and_tasks_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= set(TARGETS)
    links = re.findall(r"\]\(([\w./-]+)[^)]*\)", text)
    paths = re.findall(r"`((?:tiednmt|tests|preprocess|configs|scripts)/[\w./-]*)`", text)
    named = {*links, *paths} - TO_BE_MADE
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == [
        "configs/experiments/NAME.yaml"
    ]


def test_hooks_are_the_tools_of_the_environment():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"  # so that no hook needs a network
    entries = {hook["id"]: hook["entry"].split()[0] for hook in local["hooks"]}
    assert {"ruff", "mypy", "lint-imports"} <= set(entries.values())


def test_templates_are_forms():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.stem == "config" or {"name", "description", "body"} <= set(form)


def test_the_lowest_versions_are_not_above_those_tried():
    tried = pins("3.12")
    versions = dict(line.partition(";")[0].split("==") for line in lowest())
    assert len(versions) > 20
    for name, version in versions.items():
        if name != "tomli":  # of Python 3.10
            assert Version(version) <= Version(tried[canonicalize_name(name)]), name


def test_the_changelog_has_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{tiednmt.__version__}] – " in text
