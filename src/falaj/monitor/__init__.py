"""The monitor room: what was predicted and what became of it, whether the data moved, whether the score fell."""
