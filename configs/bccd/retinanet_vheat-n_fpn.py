# RetinaNet + FPN with vHeat-N on BCCD: boxes of blood cells under the microscope (github.com/Shenggan/BCCD_Dataset, MIT
# licence). Four to seven minutes on two CPU cores (0.34-0.58 s an iteration).
_base_ = [
    "../_base_/retinanet_vheat-n_fpn.py",
    "../_base_/datasets/bccd.py",
    "../_base_/schedules/small_data.py",
    "../_base_/runtime_mmdet.py",
]
model = dict(bbox_head=dict(num_classes=3))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False)
