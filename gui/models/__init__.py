"""Models that feed views: what they hold is a copy, read in short transactions elsewhere."""
