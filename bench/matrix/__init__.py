"""The matrix file: its schema and sections, its cells, and which are selected."""
