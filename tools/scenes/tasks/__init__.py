"""Nine small image-classification tasks in three groups, from what ships inside scikit-image and scikit-learn.

Every task has fixed training, validation and test images of 64 x 64. What they are made of is split first, so that no
pixel of a test image's source is seen in training, validation or pre-training:

* photographs are cut into tiles with a gap between, each tile belongs to one split, and every crop, also as the
  background of a rendered scene, lies inside a tile;
* handwritten digits are split by bitmap (repeats removed), faces by picture. Whether two of the bundle's faces show
  one person is not known. Faces are 200 pictures in all, so that task is smaller.

The training crops of one tile overlap one another: 800 images of few photographs carry less than 800 independent ones.

``registry`` lists the tasks; ``crops``, ``rendered`` and ``given`` draw their images.
"""
