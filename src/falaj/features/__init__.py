"""Room: features: what is known of a thing at a moment, defined once and joined as of each row's own time."""
