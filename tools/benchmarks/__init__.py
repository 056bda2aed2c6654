"""Speed, memory and accuracy beside competitors.

A case is added in ``operators``, ``networks`` or ``adapters``, and to its group in ``groups``. ``measuring`` measures
it, ``records`` keeps what was found, ``comparison`` says what became slower. ``public`` is vHeat as public code states
it; ``gpu`` is what tools/benchmark_gpu.py runs.
"""
