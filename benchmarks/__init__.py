"""What is measured, and how. Each benchmark prints a table and, as its last line, one JSON object."""
