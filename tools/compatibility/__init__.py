"""What others' tools make of the networks: one check for each, which raises where something is wrong or silent."""
