# Oriented R-CNN + FPN with RS-vHeat-B on FAIR1M-2.0, 37 classes, tiles of 1,024 px. It needs mmrotate:
# pip install -e '.[rotated]'.
# Published: mAP 48.29 (arXiv 2411.17984). Not run here, and its cost not measured. Start: see the config of DOTA.
_base_ = "oriented-rcnn_rs-vheat-b_fpn_1x_dota-le90.py"
data_root = "data/fair1m/"
data_help = (
    "download FAIR1M-2.0, write its boxes in DOTA's form with '-' for the spaces in names, and cut both with "
    "mmrotate's tools/data/dota/split into data/fair1m/{train,val}/{images,annfiles}"
)
metainfo = dict(
    classes=(
        *("Boeing737", "Boeing747", "Boeing777", "Boeing787", "C919", "A220", "A321", "A330", "A350", "ARJ21"),
        *("other-airplane", "Passenger-Ship", "Motorboat", "Fishing-Boat", "Tugboat", "Engineering-Ship"),
        *("Liquid-Cargo-Ship", "Dry-Cargo-Ship", "Warship", "other-ship", "Small-Car", "Bus", "Cargo-Truck"),
        *("Dump-Truck", "Van", "Trailer", "Tractor", "Excavator", "Truck-Tractor", "other-vehicle"),
        *("Basketball-Court", "Tennis-Court", "Football-Field", "Baseball-Field"),
        *("Intersection", "Roundabout", "Bridge"),
    )
)


def dataset(split):  # mmengine leaves functions out of the config
    return dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f"{split}/annfiles/",
        data_prefix=dict(img_path=f"{split}/images/"),
    )


model = dict(roi_head=dict(bbox_head=dict(num_classes=37)))
train_dataloader = dict(dataset=dataset("train"))
val_dataloader = dict(dataset=dataset("val"))
test_dataloader = val_dataloader
