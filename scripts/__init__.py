"""Programs of the repository: they start real parts, write the lock files and look after the tree."""
