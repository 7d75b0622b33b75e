"""The program of docs/plain-pytorch.md: tying without fairseq."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_program_of_the_docs_prints_what_they_say(tmp_path):
    parts = (ROOT / "docs" / "plain-pytorch.md").read_text(encoding="utf-8").split("```")
    (program,) = (part.removeprefix("python\n") for part in parts if part.startswith("python\n"))
    expected = parts[parts.index(f"python\n{program}") + 2].lstrip("\n")
    assert 'assert "fairseq" not in sys.modules' in program
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
