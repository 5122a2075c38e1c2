"""One resumable training loop, its data and its schedule."""
