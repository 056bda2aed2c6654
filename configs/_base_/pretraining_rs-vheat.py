# RS-vHeat, pre-trained on pairs of optical and radar images: of each image one band of frequencies is hidden, of a
# quarter of them nothing; what is hidden is scored, and pairs must find each other (InfoNCE).
_base_ = "datasets/pair_folder.py"
model = dict(
    type="FrequencyPretraining",
    backbone=dict(type="RSVHeat", arch="base", modalities=_base_.modalities, img_size=224, out_indices=(2, 3)),
    hiding=dict(type="FrequencyHiding", hide="bands", clean=0.25),
    contrast="infonce",
    weights=dict(contrast=0.1, spatial=1.0, spectral=1.0),
)
find_unused_parameters = True  # by batches of which no image is of a modality, or none is a pair
