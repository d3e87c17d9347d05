"""Owner pages and the served terminal in a real browser (`make pages`): what is found wrong is printed, and fails."""
