"""What a command does around its one operation: reading files before it, writing files after it."""
