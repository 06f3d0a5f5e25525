"""From boxes to figures: average precision, intervals over images, agreement."""
