"""What tools/benchmark_gpu.py runs: each section is a function from the batch to rows of a table."""
