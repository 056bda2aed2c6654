# UPerNet with vWave-T on ADE20K, 160k iterations, from scratch unless a backbone is given (see the vHeat config).
# Published for WaveFormer-T: mIoU 47.4 (AAAI 2026). Not run by this project; cost as vHeat-T's.
_base_ = "../vheat/upernet_vheat-t_160k_ade20k-512x512.py"
model = dict(backbone=dict(type="VWave"))
