"""The command mlsys."""
