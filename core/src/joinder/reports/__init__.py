"""Pictures for others: one HTML file each that fetches nothing and runs no script, for a wall, an e-mail, a drawer."""
