# Digit scenes, for any task: where they are, and loaders of 8 images that say nothing yet of what is loaded.
data_root = "data/digit_scenes/"
data_help = "make it with: python tools/make_digit_scenes.py"

train_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True))
val_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False))
