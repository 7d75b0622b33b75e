"""Trainings as child processes."""
