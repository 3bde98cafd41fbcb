"""Taking backups, proving them, and restoring from them."""
