"""Criterions: thin faces of fairseq."""
