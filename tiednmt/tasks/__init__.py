"""Tasks: thin faces of fairseq."""
