# RS-vHeat-B as the paper pre-trains it, as far as it says: both bands of all images are seen and everything is scored,
# plain cosine similarity between modalities, the weights of all losses 1, 224 px, 200 epochs, learning rate 2e-4,
# cosine. Published, with 3 million images: 82.30 mAP50 on DIOR, and 78.2 with L_Spa alone (arXiv 2411.17984). The batch
# of 512 is this project's guess. Not run by this project; expect weeks on one 8-GPU node.
#   python tools/pretrain.py THIS --data-dir FOLDER        with FOLDER/optical and FOLDER/sar
_base_ = [
    "../../_base_/pretraining_rs-vheat.py",
    "../../_base_/schedules/pretraining_400e.py",
    "../../_base_/runtime_pretraining.py",
]
model = dict(
    hiding=dict(hide="nothing", clean=0.0, constant="both", score="all"),
    contrast="cosine",
    stop_gradient=False,
    weights=dict(contrast=1.0),
    slope=0.0,
)
epochs = 200
train_cfg = dict(max_epochs=epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=True, begin=10, end=epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
