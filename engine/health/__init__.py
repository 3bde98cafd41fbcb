"""How the engine and its machine are doing, as figures, checks and one score."""
