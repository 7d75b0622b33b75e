"""Trained models as files that others read: model folders, and the formats of other engines."""
