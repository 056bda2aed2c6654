"""A vHeat pre-trained on day scenes, carried over to night scenes: configs, the sweep, a table."""
