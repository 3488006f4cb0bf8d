"""Floor 3, who and may: identities, tokens, bindings, roles, conditions. Pure: no SQL, no HTTP, times are arguments."""
