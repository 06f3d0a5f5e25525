"""The history of cells, as text and as a page."""
