# HiViT-L, else as the base config. Published: nothing for a moving average. Not run by this project; about 3.5 times
# the base's cost, activations checkpointed or batches accumulated.
_base_ = "itpn-feature_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py"
model = dict(arch="large")
