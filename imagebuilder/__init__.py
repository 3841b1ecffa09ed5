"""Builds operating-system images from elements."""

__version__ = "0.1.0"
