"""``tiednmt evaluate`` from a clone: ``python -m scripts.evaluate``."""

from __future__ import annotations

from functools import partial

from tiednmt.commands import evaluate

main = partial(evaluate.main, command="python -m scripts.evaluate")

if __name__ == "__main__":
    main()
