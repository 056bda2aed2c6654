# HiViT-L for 1600 epochs. Published: 86.7 % top-1 after fine-tuning; Mask R-CNN box AP 55.6 (1x), UPerNet mIoU 56.1
# (arXiv 2211.12735). Not run by this project.
_base_ = "itpn-pixel_hivit-base-p16_8xb512-amp-coslr-1600e_in1k.py"
model = dict(arch="large")
