"""From raw text to the units of a model and back; needs neither torch nor fairseq."""
