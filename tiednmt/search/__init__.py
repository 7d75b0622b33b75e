"""Beam search, in plain torch: what it needs of a decoder, the search, and its processes."""
