"""One comparison from a YAML file: which networks, which tasks, which protocols, their runs, predictions and report."""
