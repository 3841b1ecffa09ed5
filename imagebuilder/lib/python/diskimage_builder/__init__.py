"""The modules of diskimage-builder that its elements and other people's scripts import."""
