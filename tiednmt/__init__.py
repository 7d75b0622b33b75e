"""Weight tying for sequence models: a fairseq plugin (``fairseq-train --user-dir tiednmt``)."""
