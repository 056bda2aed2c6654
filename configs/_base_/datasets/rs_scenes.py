# Synthetic remote-sensing scenes, for any task: where they are, and what their modalities are. Nothing here was seen by
# a satellite. The statistics of the pictures are ImageNet's, those of radar round numbers near these scenes'.
_base_ = "small.py"
data_root = "data/rs_scenes/"
data_help = "make it with: python tools/make_rs_scenes.py"
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
sar = dict(name="sar", bands=["VV", "VH"], unit="dB", mean=[-13.0, -18.0], std=[4.5, 4.0], clip=[-30.0, 5.0])
modalities = [optical, sar]
