# The published form of features: CLIP-B/16 teaches, hidden units pass the first two stages. Published: 86.2 % top-1
# after fine-tuning; Mask R-CNN box AP 53.2 (1x), UPerNet mIoU 54.7 (arXiv 2211.12735). Not run by this project.
# timm downloads the teacher's weights; without a network give a file:
#   --cfg-options model.teacher.pretrained_cfg_overlay.file=FILE
_base_ = "itpn-feature_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py"
model = dict(
    teacher=dict(model_name="vit_base_patch16_clip_224.openai", pretrained=True),
    leak=True,
    # The statistics that the teacher was trained with; the network sees the same images. Detectors of OpenMMLab have
    # ImageNet's, whose standard deviations are a sixth smaller.
    data_preprocessor=dict(
        type="PretrainingDataPreprocessor", mean=[122.771, 116.746, 104.094], std=[68.5, 66.632, 70.323]
    ),
)
