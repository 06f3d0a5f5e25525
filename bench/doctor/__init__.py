"""What this machine can measure, and what mends it."""
