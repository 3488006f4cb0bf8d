"""Floor 1, pure: the vocabulary that every floor above speaks. No clock, no database, no network."""
