"""Weight tying for sequence models: a fairseq plugin (``fairseq-train --user-dir tiednmt``).

Importing this package does nothing; :mod:`tiednmt.plugin` registers its models, tasks and
criterions with fairseq.
"""

__version__ = "0.1.0"
