"""The parts of tools/search.py.

``task`` says what a search is of, ``digits`` is one; ``study`` keeps the trials, ``worker`` evaluates them; ``finals``
chooses the winner and measures it; ``export`` and ``page`` tell what was found.
"""
