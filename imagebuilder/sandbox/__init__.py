"""Namespaces in which phases run, so that nothing they do outlives the build."""
