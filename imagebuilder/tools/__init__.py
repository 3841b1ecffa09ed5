"""The programs and files of a host that builds need, and which packages bring them."""
