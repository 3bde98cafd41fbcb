"""Finding damage, and repairing it from what there is: memory, double-write copies, the log."""
