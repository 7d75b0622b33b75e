"""Optimizers that fairseq does not have."""
