"""Which cell to ship: constraints and an objective, by intervals, and why the others lost."""
