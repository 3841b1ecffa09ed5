"""Initial RAM filesystems, read and changed in memory as the kernel would read them.

An initrd is a row of segments, each a cpio archive that may be compressed, with zero bytes between
them (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`). Later entries win.
Nothing is unpacked to disk, so owners, modes and devices survive without root.
"""
