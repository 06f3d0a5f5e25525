"""A fleet: devices that measure one bundle together, by Dask distributed."""
