"""The command line: parse, call one operation, render. See `table` for every command."""
