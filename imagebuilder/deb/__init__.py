"""Debian packages taken apart and built again, and the pools that they are in."""
