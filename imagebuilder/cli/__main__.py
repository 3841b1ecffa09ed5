"""`python -m imagebuilder.cli` is the program `imagebuilder`."""

from imagebuilder.cli.start import imagebuilder

imagebuilder()
