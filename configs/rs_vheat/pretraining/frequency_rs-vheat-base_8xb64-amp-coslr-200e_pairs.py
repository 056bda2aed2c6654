# RS-vHeat-B, the paper's schedule with this project's hiding and losses, see the base. Published figures are of the
# literal form; none is of this one. Not run by this project; expect weeks on one 8-GPU node with 3 million images.
_base_ = "frequency-literal_rs-vheat-base_8xb64-amp-coslr-200e_pairs.py"
model = dict(
    hiding=dict(hide="bands", clean=0.25, constant="low", score="hidden"),
    contrast="infonce",
    stop_gradient=True,
    weights=dict(contrast=0.1),
    slope=2.0,
)
