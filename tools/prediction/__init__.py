"""Trained models on pictures: what is read, how large images are cut into tiles, and what is written."""
