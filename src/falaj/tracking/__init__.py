"""Room: runs that a person's own code makes."""
