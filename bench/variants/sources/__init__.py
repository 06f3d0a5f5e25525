"""Models of every family as torch modules with their contracts. For the build child only."""
