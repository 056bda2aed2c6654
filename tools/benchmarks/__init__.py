"""Speed, memory and accuracy beside competitors.

A case is added in ``operators``, ``linears``, ``networks``, ``runtimes`` or ``adapters``, and to its group in
``groups``. ``measuring`` measures it, ``records`` keeps what was found with the ``machine`` and its ``calibration``,
``comparison`` says what became slower, ``claims`` between what claims lie over all records. ``public`` is vHeat as
public code states it; ``gpu`` is what tools/benchmark_gpu.py runs.
"""
