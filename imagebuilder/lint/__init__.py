"""Mistakes in elements, found without building anything."""
