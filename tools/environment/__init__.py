"""The parts of tools/bootstrap.py. All but `check` run on any Python 3.8 or later with the standard library alone."""
