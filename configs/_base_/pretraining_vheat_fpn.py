# A vHeat and mmdet's FPN as detectors use it, pre-trained together: units of 32 px, 60 % of them hidden, re-masked in
# every layer; pixels from the sum of the neck's levels, and each level's features as a moving average sees them.
model = dict(
    type="MaskedPretraining",
    backbone=dict(type="VHeat", arch="tiny", img_size=224),
    neck=dict(type="mmdet.FPN", in_channels=[96, 192, 384, 768], out_channels=256, num_outs=5),
    mask=dict(type="RandomUnits", unit=32, ratio=0.6),
    # The floor of a unit's variance is for pixels less ImageNet's mean over its standard deviation.
    target_generator=[dict(type="pixels", floor=2e-2), dict(type="features")],
    data_preprocessor=dict(type="PretrainingDataPreprocessor"),
)
