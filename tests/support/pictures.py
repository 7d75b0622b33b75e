"""Pictures that no test looks at are not drawn: matplotlib takes a quarter of a second for each."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tiednmt.show import pictures


@contextmanager
def drawn(*names, by=pictures):
    """Of all pictures that the module ``by`` would draw, it draws those of these names alone."""
    draw = by.draw

    def draw_some(given, folder):
        draw([picture for picture in given if picture.name in names], folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by, "draw", draw_some)
        yield
