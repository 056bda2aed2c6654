# The same network and images, pre-trained after SimMIM: squares of 16 px are hidden behind a token, 60 % of them, and
# their pixels are predicted, with an L1 loss and nothing else: minutes.
_base_ = "frequency_rs-vheat-nano_rs-scenes.py"
model = dict(
    hiding=dict(hide="units", clean=0.0, unit=16, ratio=0.6),
    weights=dict(contrast=0.0, spectral=0.0),
)
