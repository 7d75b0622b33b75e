"""Which matrices of a file are tied, whichever toolkit wrote it: as stored, and as claimed."""
