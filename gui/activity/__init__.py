"""Who works, who waits for whom, and what can be done about it."""
