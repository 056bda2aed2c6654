"""Synthetic, co-registered optical and SAR-like scenes: nothing here was seen by a satellite.

``plan`` draws what a place is like, ``layout`` makes land cover, heights and roads of it, ``objects`` puts ships and
aircraft on it; ``optical``, ``clouds`` and ``radar`` make pictures; ``scene`` joins them, ``changes`` makes pairs of
two dates, ``data_set`` writes all. ``statistics`` measures pictures, real ones too, which ``reading`` reads.
"""
