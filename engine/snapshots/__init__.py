"""Named moments of a database: taken, looked at, gone back to."""
