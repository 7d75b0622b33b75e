"""What the ways to tie are called; standard library only, since options name them."""

from __future__ import annotations

TYINGS = NONE, INPUTS, DECODER, THREE_WAY = "none", "inputs", "decoder", "three-way"
