"""Fine-tuning methods on nine small tasks: two backbones, their pre-training, one protocol, a table."""
