"""What starts the system on a disk: boot blocks, and files for the firmware."""
