"""Which matrices of a file are one, whichever toolkit wrote it: what is stored, what is claimed."""
