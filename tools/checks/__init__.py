"""What is wrong with a data set, as a config sees it; one module for each kind of check."""
