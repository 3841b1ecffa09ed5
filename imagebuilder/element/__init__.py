"""What an element is: a directory of hook scripts and data, and what it says about itself."""
