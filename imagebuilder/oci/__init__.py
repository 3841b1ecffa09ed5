"""Container images as files: which layers they have, and the tree that these make.

The formats are those of the OCI image specification 1.1 (a directory, or an archive of it) and of
`docker save`. Nothing here talks to a registry or to a daemon.
"""
