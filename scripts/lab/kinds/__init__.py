"""Kinds of experiment."""
