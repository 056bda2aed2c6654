# The same minutes with the paper's literal form: both bands are seen, everything is scored, and plain cosine similarity
# brings modalities together, which may collapse: then the training stops and says so.
_base_ = "frequency_rs-vheat-nano_rs-scenes.py"
model = dict(
    hiding=dict(hide="nothing", clean=0.0, constant="both", score="all"),
    contrast="cosine",
    stop_gradient=False,
    weights=dict(contrast=1.0),
    slope=0.0,
)
