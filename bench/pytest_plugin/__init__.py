"""The pytest plugin, the replay of samples, and the tests that play them."""
