"""From raw parallel text to a data-bin that fairseq trains on: one stage a function."""
