"""Disk images that somebody else has made: what is in them, and their filesystems as one tree."""
