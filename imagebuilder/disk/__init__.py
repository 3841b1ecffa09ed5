"""Where every byte of a disk goes; computes, and touches nothing."""
