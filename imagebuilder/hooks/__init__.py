"""The merged hooks tree, and the phases that run what is in it."""
