"""Searches of tables: every setting of a space was trained once by others, so that a search takes a second."""
