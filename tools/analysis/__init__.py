"""What stored predictions and networks say: metrics, errors, statistics, robustness, features, and their figures."""
