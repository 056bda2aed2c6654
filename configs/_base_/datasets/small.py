# Small data sets, for any task: loaders of 8 images in this process that say nothing yet of what is loaded.
train_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type="InfiniteSampler", shuffle=True))
val_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False))
test_dataloader = val_dataloader
