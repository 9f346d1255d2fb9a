"""The pytest plugin: real servers as layered fixtures (see the sibling modules)."""
