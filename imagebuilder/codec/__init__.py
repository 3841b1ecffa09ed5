"""Compressed data as Linux reads it when it starts: kinds, lengths, both directions.

The kernel's decompressors (`lib/decompress_*.c`) take less than the formats allow, so what is
written here is what they take. All of it happens in memory and in this process: Python's own
modules, and three libraries through ctypes.
"""
