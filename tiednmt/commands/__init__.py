"""The commands of ``tiednmt``: each loads what it needs once its options are read."""
