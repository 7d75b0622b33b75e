"""A hook for MkDocs: pages, pictures and notebooks from outside docs/.

The README is the start page. In a page, a link to ``../results/x.svg`` or, in the README, to
``docs/x.md`` works in the repository; on the site it leads to the page or picture itself.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# by name on the site
ROOT_PAGES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
    "code-of-conduct.md": "CODE_OF_CONDUCT.md",
}
_OF_FILE = {file: page for page, file in ROOT_PAGES.items()}
_LINK = re.compile(r"(\]\()(?:docs/|\.\./)?([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root, the pictures of ``results/`` and the notebooks."""
    from mkdocs.structure.files import File

    for name, file in ROOT_PAGES.items():
        content = (ROOT / file).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=content))
    for path in sorted([*ROOT.glob("results/*.svg"), *ROOT.glob("examples/notebooks/*.ipynb")]):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Point links at pages of the site; a link to any other file becomes the file's name."""

    def on_site(link: re.Match[str]) -> str:
        target = _OF_FILE.get(link[2], link[2])
        return f"{link[1]}{target}{link[3] or ''})"

    markdown = _LINK.sub(on_site, markdown)
    return re.sub(r"\[([^\]]+)\]\(examples/(?!notebooks/)[^)]+\)", r"\1", markdown)
