"""squashfs images as streams: looked into and changed without unpacking them, and without root.

squashfs-tools-ng turn an image into a tar archive and back; owners, devices, hard links,
capabilities and other extended attributes pass through. Sockets, which tar cannot hold, do not.
"""
