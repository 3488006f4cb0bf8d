"""The inference server: a process of its own that serves one deployment from its signed bundle. Imports core only."""
