"""A tree goes in, a filesystem in an image file comes out; nothing is mounted."""
