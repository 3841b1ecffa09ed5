"""What can be made of a finished disk or root tree: one module per kind of file."""
