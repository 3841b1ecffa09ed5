"""`python3 -m imagebuilder` is the program `imagebuilder`, from a checkout too."""

from imagebuilder.cli.start import imagebuilder

imagebuilder()
