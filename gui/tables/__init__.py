"""Browse and edit tables; bring data in and take it out."""
