"""From raw text, parallel or in one language, to a data-bin that fairseq trains on."""
