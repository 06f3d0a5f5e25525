"""Why a cell is slow: what the profile of a runtime shows, in words."""
