"""Changing what others have built: initrds, installer ISOs, squashfs images.

Each module here is one story: read, change, check what came out, and put it under its name.
"""
