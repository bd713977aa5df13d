"""Training loop of all networks, resumable states and weight files."""
