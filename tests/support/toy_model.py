"""The model of docs/adding-a-model.md: what a new architecture has to offer, and gets."""

import re
from pathlib import Path

from tiednmt.patches import translate_habits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-model.md"
(CODE,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)

exec(compile(CODE, str(PAGE), "exec"), globals())
translate_habits()  # as fairseq-train does when it reads a command line
