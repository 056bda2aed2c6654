"""Parameter-efficient adapters built on :mod:`spectral_ops`. Empty so far: see CHANGELOG.md."""
