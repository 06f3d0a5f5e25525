"""Data sets: labels, images, the training split."""
