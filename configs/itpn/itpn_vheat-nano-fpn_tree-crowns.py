# vHeat-N and the FPN of the tree crowns' RetinaNet, pre-trained together on the 120 tiles that train it, without their
# boxes: 2,000 iterations of 32 crops of 96 px, minutes on two CPU cores. The neck has group norms: statistics of
# batches would be those of masked maps.
_base_ = "itpn_vheat-nano-fpn_digit-scenes.py"
data_root = "data/tree_crowns/train/"
data_help = "make it with: python tools/make_tree_crowns.py"
norm_cfg = dict(type="GN", num_groups=8, requires_grad=True)
model = dict(
    neck=dict(start_level=1, add_extra_convs="on_output", norm_cfg=norm_cfg),
    target_generator=[dict(type="pixels", floor=2e-2), dict(type="features", strides=[8, 16, 32])],
)
images = dict(data_root=data_root)
train_dataloader = dict(dataset=dict(data_root=data_root, scale=(0.15, 0.6), flip=0.5))
val_dataloader = dict(dataset=dict(data_root=data_root))
