# UPerNet with vTail-T on ADE20K, 160k iterations, from scratch unless a backbone is given (see the vHeat config).
# Published: nothing. Not run by this project; cost a little above vHeat-T's.
_base_ = "../vheat/upernet_vheat-t_160k_ade20k-512x512.py"
model = dict(backbone=dict(type="VTail"))
