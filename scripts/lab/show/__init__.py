"""Renderers of tables and charts."""
