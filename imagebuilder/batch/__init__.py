"""Several images from one file: planned together, then built as programs of their own."""
